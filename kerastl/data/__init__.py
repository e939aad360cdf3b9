"""Where examples come from: pictures, their one decoder, and which of them judge."""
