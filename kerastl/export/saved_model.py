"""The SavedModel: raw picture bytes in, names and calibrated scores out. Plain TensorFlow, every weight stored once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerastl.data.images import decode_batch

TOP = 5


class Served(tf.Module):
    """What is saved: the functions of the signatures, and the variables they use. Nothing of Keras is saved."""

    def __init__(self, backbone: Any, head: Any, classes: Sequence[str], temperature: float, multi_label: bool) -> None:
        super().__init__(name="kerastl")
        size = backbone.input_shape[1]
        self.weights = [variable.value for part in (backbone, head) for variable in part.variables]
        names = tf.constant(list(classes), name="labels")
        top = min(TOP, len(classes))
        raw = tf.TensorSpec([None], tf.string, name="image_bytes")
        decoded = tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")

        # Functions of their own, so that the graph of each is stored once, however many signatures call it.
        @tf.function(input_signature=[raw], autograph=False)
        def pixels_of(image_bytes: tf.Tensor) -> tf.Tensor:
            return decode_batch(image_bytes, size)

        @tf.function(input_signature=[decoded], autograph=False)
        def features_of(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(backbone(tf.cast(images, tf.float32), training=False), tf.float32)

        def logits_of(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(head(features_of(images), training=False), tf.float32)

        def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            scaled = logits_of(pixels_of(image_bytes)) / temperature
            p = tf.sigmoid(scaled) if multi_label else tf.nn.softmax(scaled)
            scores, places = tf.math.top_k(p, top)
            labels = tf.gather(names, places)
            label = labels[:, 0]
            if multi_label:
                held = tf.ragged.boolean_mask(tf.broadcast_to(names, tf.shape(p)), p >= 0.5)
                label = tf.strings.reduce_join(held, axis=1, separator="|")
            return {"label": label, "score": scores[:, 0], "top_labels": labels, "top_scores": scores,
                    "probabilities": p}

        self.serve = tf.function(serve, input_signature=[raw], autograph=False)
        self.tensor = tf.function(lambda images: {"logits": logits_of(images)}, input_signature=[decoded],
                                  autograph=False)
        self.embed = tf.function(lambda image_bytes: {"features": features_of(pixels_of(image_bytes))},
                                 input_signature=[raw], autograph=False)


def save(folder: Path, backbone: Any, head: Any, classes: Sequence[str], temperature: float, multi_label: bool) -> None:
    """Write `saved_model.pb` and `variables/` with the signatures `serving_default`, `tensor` and `features`.

    backbone: images [batch, size, size, 3] -> features; head: features -> logits.
    """
    served = Served(backbone, head, classes, temperature, multi_label)
    signatures = {"serving_default": served.serve, "tensor": served.tensor, "features": served.embed}
    tf.saved_model.save(served, str(folder), signatures=signatures)


def write_warmup(folder: Path, name: str, picture: bytes) -> None:
    """Write the request that TF Serving sends itself before it takes others, so that the first one is not slow."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=name, signature_name="serving_default"),
        inputs={"image_bytes": tf.make_tensor_proto([picture], tf.string)},
    )
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
