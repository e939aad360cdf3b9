"""The SavedModel: takes what a client sends, returns labels and calibrated scores. It is plain TensorFlow, and stores
every weight once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.decision import Calibration
from kerastl.evaluation.rejection import Detector
from kerastl.explanation.exact import ActivationMaps, activation_maps
from kerastl.export.chunks import checked_shape, in_chunks
from kerastl.export.compact import compact
from kerastl.export.explained import exact_parts, named_parts
from kerastl.export.served import served
from kerastl.export.unknown import OUTPUT, unknown_score
from kerastl.features.engines.fusable import fusable
from kerastl.inputs import Input, floats
from kerastl.model import Parts
from kerastl.tasks import Task


class ServingModule(tf.Module):
    """What is saved: the functions of the signatures, and the variables they use. Nothing of Keras is saved."""

    def __init__(self, parts: Parts, source: Input, classes: Sequence[str], task: Task, calibration: Calibration,
                 detector: Detector | None = None) -> None:
        super().__init__(name="kerastl")
        self.weights = [variable.value for part in (parts.backbone, parts.head) for variable in part.variables]
        self.tables = source.tables()
        names = tf.constant(list(classes), name="labels")
        backbone, maps = fusable(parts.backbone), activation_maps(parts)
        raw, owners = source.raw_spec, tf.TensorSpec([None], tf.int32, name="owners")
        decoded = [source.spec, owners] if source.single_spec is None else [source.spec]
        fixed = source.spec.shape[1:].is_fully_defined()  # else all rows have to be padded to one length first

        # Functions of their own, so that the graph of each is stored once, however many signatures call it.
        @tf.function(input_signature=[raw], autograph=False)
        def values_of(sent: tf.Tensor) -> list[tf.Tensor]:
            return [part for part in source.decode(sent) if part is not None]

        @tf.function(input_signature=[source.spec], autograph=False)
        def places(values: tf.Tensor) -> tf.Tensor:
            network = backbone if maps is None else maps.network
            return tf.cast(network(floats(values), training=False), tf.float32)

        def network(values: tf.Tensor) -> tf.Tensor:
            return places(values) if maps is None else tf.reduce_mean(places(values), [1, 2])

        def features_of(values: tf.Tensor, *owners: tf.Tensor) -> tf.Tensor:
            pieces = in_chunks(network, values)
            return tf.math.segment_mean(pieces, *owners) if owners else pieces

        def head(features: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
            """Logits, and where there is a detector `unknown_score` as one more column."""
            logits = tf.cast(parts.logits(features, floats(values)), tf.float32)
            if detector is None:
                return logits
            return tf.concat([logits, unknown_score(detector, features, logits)[:, None]], axis=1)

        def answers_of(values: tf.Tensor, *owners: tf.Tensor) -> tf.Tensor:
            if owners:
                return head(features_of(values, *owners), values)
            return in_chunks(lambda some: head(network(some), some), values)

        def decode(sent: tf.Tensor) -> list[tf.Tensor]:
            return values_of(checked_shape(sent, raw))

        def of_sent(sent: tf.Tensor, with_head: bool) -> tf.Tensor:
            """What `head` returns, or features, of what a client sends."""
            if not fixed:
                return (answers_of if with_head else features_of)(*decode(sent))

            def run(some: tf.Tensor) -> tf.Tensor:
                (values,) = values_of(some)
                return head(network(values), values) if with_head else network(values)

            return in_chunks(run, checked_shape(sent, raw))

        def divided(answers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
            return (answers, None) if detector is None else (answers[:, :-1], answers[:, -1])

        def serve(sent: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, unknown = divided(of_sent(sent, with_head=True))
            return served(logits, names, task, calibration, unknown, detector is not None and detector.reject)

        def of_values(values: tf.Tensor, *owners: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, unknown = divided(answers_of(checked_shape(values, source.spec), *owners))
            return {"logits": logits, **({} if unknown is None else {OUTPUT: unknown})}

        def explain(maps: ActivationMaps, sent: tf.Tensor) -> dict[str, tf.Tensor]:
            def run(some: tf.Tensor) -> tf.Tensor:
                (values,) = values_of(some)
                return exact_parts(maps, parts, places(values), values)

            return named_parts(maps, in_chunks(run, checked_shape(sent, raw)))

        self.explain = None if maps is None else tf.function(
            lambda sent: explain(maps, sent), input_signature=[raw], autograph=False)
        self.serve = tf.function(serve, input_signature=[raw], autograph=False)
        self.tensor = tf.function(of_values, input_signature=decoded, autograph=False)
        self.embed = tf.function(lambda sent: {"features": of_sent(sent, with_head=False)}, input_signature=[raw],
                                 autograph=False)


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
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=name, signature_name="serving_default"),
        inputs={source.raw_name: tf.make_tensor_proto(np.array(contents), source.raw_spec.dtype)},
    )
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
