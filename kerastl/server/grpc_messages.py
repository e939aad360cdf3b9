"""Messages that gRPC sends as they are, and REST as JSON."""

from collections.abc import Sequence
from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from kerastl.server.models import Served, VersionStatus

SIGNATURES = "signature_def"


def status_response(statuses: Sequence[VersionStatus]) -> Any:
    """A GetModelStatusResponse."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add(version=status.version, state=status.state.value)
        entry.status.error_code = status.code.number
        entry.status.error_message = status.message
    return response


def metadata_response(served: Served) -> tuple[Any, Any]:
    """A GetModelMetadataResponse, and the SignatureDefMap that it contains."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in served.model.definitions.items():
        signatures.signature_def[name].CopyFrom(definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = served.name
    response.model_spec.version.value = served.version
    response.metadata[SIGNATURES].Pack(signatures)
    return response, signatures
