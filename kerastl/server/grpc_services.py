"""The gRPC API: TF Serving's PredictionService and ModelService."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kerastl.errors import OptionError
from kerastl.server.bodies import Arrays
from kerastl.server.config import models_of
from kerastl.server.core import Core, Spec
from kerastl.server.grpc_messages import SIGNATURES, fill_spec, metadata_response, status_response
from kerastl.server.metrics import LATENCY, REQUESTS, Metrics
from kerastl.server.request_log import as_received
from kerastl.server.served import Served
from kerastl.server.signatures import DEFAULT
from kerastl.server.status import FAULT, Code, ServingError, invalid
from kerastl.server.tensor_protos import arrays_of, require_sendable, tensor_proto

log = logging.getLogger("kerastl.serve")
CODES = {code.value[0]: code for code in grpc.StatusCode}
MOST_DETAILS = 4000  # bytes of a message as gRPC sends it; a client refuses trailers of more than 8 KB


class Parsing(grpc.aio.ServerInterceptor):
    """Refuses requests whose bytes are no message. gRPC itself would answer with an exception of Python's, as an
    unknown error, and such calls would be missing in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """The handler of a method, which parses the request itself."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(data: bytes, context: Any) -> Any:
            try:
                request = handler.request_deserializer(data)
            except DecodeError:
                self._metrics.count(REQUESTS, model_name="", status=Code.INVALID_ARGUMENT.name)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be parsed: its bytes are not "
                                    f"the message that {details.method} takes")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def details_of(message: str) -> str:
    """A message that fits into the trailers of a call, where gRPC writes three bytes for each byte that is not
    printable ASCII. It is cut off where it is longer, such as one that contains a name of the client's."""
    room = MOST_DETAILS - len("...")
    for place, character in enumerate(message):
        plain = " " <= character <= "~" and character != "%"
        room -= 1 if plain else 3 * len(character.encode("utf-8", "replace"))
        if room < 0:
            return f"{message[:place]}..."
    return message


class _Service:
    """threads: that compute. most_bytes: of the tensors of a request."""

    def __init__(self, core: Core, threads: Executor, most_bytes: int) -> None:
        self._core, self._threads, self._most_bytes = core, threads, most_bytes

    async def _run(self, context: Any, method: str, spec: Any, answer: Callable[[], Any], at_once: bool = False) -> Any:
        """Answer in a thread, or at once what takes no time; an error becomes the status of the call."""
        start, code = time.perf_counter(), Code.OK
        name = self._core.counted(spec.name) if spec is not None else ""
        try:
            return answer() if at_once else await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        except ServingError as error:
            code = error.code
            await context.abort(CODES[code.number], details_of(error.message))
        except asyncio.CancelledError:  # the client gave up, or its deadline passed
            left = context.time_remaining()
            code = Code.DEADLINE_EXCEEDED if left is not None and left <= 0 else Code.CANCELLED
            raise
        except Exception:  # a fault of the server's own: the call fails, the others go on
            log.exception("the call failed")
            code = Code.INTERNAL
            await context.abort(CODES[code.number], FAULT)
        finally:
            self._core.metrics.count(REQUESTS, model_name=name, status=code.name)
            if code is Code.OK:
                self._core.metrics.observe(LATENCY, 1e6 * (time.perf_counter() - start), model_name=name, API=method,
                                           entrypoint="GRPC")


class PredictionService(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    async def Predict(self, request: Any, context: Any) -> Any:
        """Outputs of a signature."""
        return await self._run(context, "predict", request.model_spec, lambda: self._predict(request))

    def _predict(self, request: Any) -> Any:
        def read(served: Served) -> tuple[str, Arrays]:
            name = request.model_spec.signature_name
            if (name or DEFAULT) not in served.model.signatures:
                raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name or DEFAULT}" not found.')
            return name, arrays_of(request.inputs, self._most_bytes)

        answer = self._core.predict(_spec(request), read, tuple(request.output_filter))
        response = predict_pb2.PredictResponse()
        require_sendable(answer.outputs)
        fill_spec(response.model_spec, answer.served, answer.signature)
        for name, array in answer.outputs.items():
            response.outputs[name].CopyFrom(tensor_proto(array))
        self._core.log(answer.served, answer.signature, lambda: as_received("predict_log", request, response))
        return response

    async def Classify(self, request: Any, context: Any) -> Any:
        """Classes and scores of examples."""
        return await self._run(context, "classify", request.model_spec, lambda: self._of_examples(
            request, self._core.classify, classification_pb2.ClassificationResponse, "classify_log"))

    async def Regress(self, request: Any, context: Any) -> Any:
        """A value for each example."""
        return await self._run(context, "regress", request.model_spec, lambda: self._of_examples(
            request, self._core.regress, regression_pb2.RegressionResponse, "regress_log"))

    def _of_examples(self, request: Any, compute: Callable[..., tuple[Served, Any]], response_of: Any, kind: str
                     ) -> Any:
        """The response to a request with examples. compute: of the core; kind: of the record in the log."""
        signature = request.model_spec.signature_name
        served, result = compute(_spec(request), signature, request.input)
        response = response_of(result=result)
        fill_spec(response.model_spec, served, signature)
        self._core.log(served, signature, lambda: as_received(kind, request, response))
        return response

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Several tasks on the same examples."""
        spec = request.tasks[0].model_spec if request.tasks else None
        return await self._run(context, "multiinference", spec, lambda: self._multi(request))

    def _multi(self, request: Any) -> Any:
        names = [task.model_spec.name for task in request.tasks]
        if not names or not all(names):
            raise invalid("Found ModelSpec with an empty model name.")
        if len({*names}) > 1:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        tasks = [(task.model_spec.signature_name, task.method_name) for task in request.tasks]
        served, results = self._core.multi(_spec(request.tasks[0]), tasks, request.input)
        response = inference_pb2.MultiInferenceResponse()
        for (signature, _), result in zip(tasks, results, strict=True):
            entry = response.results.add()
            fill_spec(entry.model_spec, served, signature)
            (entry.classification_result if isinstance(result, classification_pb2.ClassificationResult)
             else entry.regression_result).CopyFrom(result)
        self._core.log(served, tasks[0][0], lambda: as_received("multi_inference_log", request, response))
        return response

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """The signatures of a version."""
        def answer() -> Any:
            spec = _spec(request)
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != SIGNATURES:
                    raise invalid(f"Metadata field {name} is not supported")
            with self._core.models.lease(spec.name, spec.version, spec.label) as served:
                return metadata_response(served)[0]

        return await self._run(context, "getmodelmetadata", request.model_spec, answer, at_once=True)


class ModelService(_Service, model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """The states of a model's versions."""
        def answer() -> Any:
            spec = _spec(request)
            return status_response(self._core.models.status(spec.name, spec.version, spec.label))

        return await self._run(context, "getmodelstatus", request.model_spec, answer, at_once=True)

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Serve other models from now on."""
        def answer() -> Any:
            before = {name: self._core.metrics.total(name) for name in request.metric_names}
            try:
                self._core.models.reload(models_of(request.config, "the config"))
            except OptionError as error:
                raise invalid(error.line) from error
            response = model_management_pb2.ReloadConfigResponse()
            for name, value in before.items():
                response.metric.add(name=name, int64_value_increase=int(self._core.metrics.total(name) - value))
            return response

        return await self._run(context, "reloadconfig", None, answer)


def _spec(request: Any) -> Spec:
    """The model that a request asks for. Raises ServingError where it names none."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    message = request.model_spec
    kind = message.WhichOneof("version_choice")
    return Spec(message.name, message.version.value if kind == "version" else None,
                message.version_label if kind == "version_label" else None)
