"""A server that speaks TF Serving's protocols: REST and gRPC over one request core."""
