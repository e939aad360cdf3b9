"""The SavedModel: takes what a client sends, returns labels and calibrated scores. It is plain TensorFlow, and stores
every weight once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.decision import Calibration
from kerastl.evaluation.rejection import Detector
from kerastl.export.chunks import checked_shape
from kerastl.export.compact import compact
from kerastl.export.explained import named_parts
from kerastl.export.graph import ServedGraph
from kerastl.export.served import served
from kerastl.export.unknown import OUTPUT
from kerastl.inputs import Input
from kerastl.model import Parts
from kerastl.tasks import Task


class ServingModule(tf.Module):
    """What is saved: the functions of the signatures, and the variables they use. Nothing of Keras is saved."""

    def __init__(self, parts: Parts, source: Input, classes: Sequence[str], task: Task, calibration: Calibration,
                 detector: Detector | None = None) -> None:
        super().__init__(name="kerastl")
        self.weights = [variable.value for part in (parts.backbone, parts.head) for variable in part.variables]
        self.tables = source.tables()
        graph, names = ServedGraph(parts, source, detector), tf.constant(list(classes), name="labels")
        owners = tf.TensorSpec([None], tf.int32, name="owners")
        decoded = [source.spec, owners] if source.single_spec is None else [source.spec]

        def divided(answers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
            return (answers, None) if detector is None else (answers[:, :-1], answers[:, -1])

        def serve(sent: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, unknown = divided(graph.sent(sent, with_head=True))
            return served(logits, names, task, calibration, unknown, detector is not None and detector.reject)

        def of_values(values: tf.Tensor, *owners: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, unknown = divided(graph.answers(checked_shape(values, source.spec), *owners))
            return {"logits": logits, **({} if unknown is None else {OUTPUT: unknown})}

        def embed(sent: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"features": graph.sent(sent, with_head=False)}

        def function(run: Callable[..., dict[str, tf.Tensor]], inputs: list[tf.TensorSpec]) -> Any:
            return tf.function(run, input_signature=inputs, autograph=False)

        raw, maps = [source.raw_spec], graph.maps
        self.explain = None if maps is None else function(
            lambda sent: named_parts(maps, graph.explanations(maps, sent)), raw)
        self.serve, self.tensor, self.embed = function(serve, raw), function(of_values, decoded), function(embed, raw)


def save(folder: Path, parts: Parts, source: Input, classes: Sequence[str], task: Task, calibration: Calibration,
         detector: Detector | None = None) -> None:
    """Write `saved_model.pb` and `variables/` with the signatures `serving_default`, `tensor` and `features`, and
    `explain` where it is exact (see `explanation.exact`).

    parts: of a model that takes what `source` decodes to. detector: of inputs of no known class; without it, there is
    no `unknown_score`.
    """
    module = ServingModule(parts, source, classes, task, calibration, detector)
    signatures = {"serving_default": module.serve, "tensor": module.tensor, "features": module.embed}
    if module.explain is not None:
        signatures["explain"] = module.explain
    tf.saved_model.save(module, str(folder), signatures=signatures)
    compact(folder)


def write_warmup(folder: Path, name: str, source: Input, contents: list[Any]) -> None:
    """Write the request that TF Serving sends to itself before it accepts others, so that the first one is not slow."""
    write_warmup_request(folder, name, source.raw_name, tf.make_tensor_proto(np.array(contents), source.raw_spec.dtype))


def write_warmup_request(folder: Path, name: str, argument: str, value: Any) -> None:
    """The same for a model that takes a TensorProto as `argument`."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=name, signature_name="serving_default"), inputs={argument: value})
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
