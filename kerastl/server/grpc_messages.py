"""Messages that gRPC sends as they are, and REST as JSON."""

from collections.abc import Sequence
from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from kerastl.server.served import Served, VersionStatus
from kerastl.server.signatures import DEFAULT

SIGNATURES = "signature_def"


def fill_spec(message: Any, served: Served, signature: str) -> Any:
    """Say in a ModelSpec what answered. Returns it."""
    message.name, message.signature_name = served.name, signature or DEFAULT
    message.version.value = served.version
    return message


def spec_of(served: Served, signature: str) -> Any:
    """The ModelSpec of an answer."""
    return fill_spec(model_pb2.ModelSpec(), served, signature)


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
