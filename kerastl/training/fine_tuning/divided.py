"""Fine-tuning on several devices: each holds all weights, and computes the gradients of its part of every batch.

The loss is the mean over the rows of the whole batch, weights included, as on one device. Keras' own `fit` within
`tf.distribute.MirroredStrategy` takes the mean of the parts' means, which counts the rows of a smaller part more; it
fails where the first batch does not divide, and with XLA (Keras 3.15). So the step is another one here: `fit` runs the
epochs, the callbacks and the validation, on the same batches as for one device.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import keras
import tensorflow as tf

Tensor = Any


@cache
def mirrored(devices: tuple[str, ...]) -> Any:
    """The strategy that mirrors variables on these devices; None for fewer than two. One for each process: two
    strategies for the same devices number their exchanges alike, and TensorFlow takes those of the second, with other
    shapes, for those of the first."""
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None


class Divided(keras.Sequential):
    """A model whose batches are divided among the devices of a strategy. Its network and its optimizer are made within
    the strategy's scope, and the optimizer is built there; the model itself is made outside.

    A batch is divided into parts of one size. Where it does not divide, the last part is filled up with copies of the
    last row, of weight 0; the other weights make up for it (`part_of`).
    """

    def __init__(self, layers: Sequence[Any], strategy: Any) -> None:
        super().__init__(layers)
        self.strategy = strategy

    def make_train_function(self, force: bool = False) -> Any:
        """Called by Keras."""
        if getattr(self, "train_function", None) is None or force:
            gradients = tf.function(self._gradients, jit_compile=self.jit_compile, reduce_retracing=True,
                                    autograph=False)
            step = tf.function(lambda *batch: self._train(gradients, *batch), reduce_retracing=True, autograph=False)
            self.train_function = lambda iterator: step(*iterator.get_next())
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Called by Keras."""
        if getattr(self, "test_function", None) is None or force:
            step = tf.function(self._test, reduce_retracing=True, autograph=False)
            self.test_function = lambda iterator: step(*iterator.get_next())
        return self.test_function

    def _train(self, gradients: Any, *batch: Tensor) -> dict[str, Tensor]:
        variables = [variable.value for variable in self.trainable_variables]
        losses, slopes = self.strategy.run(lambda *whole: gradients(*part_of(whole)), args=batch)
        used = [place for place, slope in enumerate(slopes) if slope is not None]
        with self.strategy.scope():
            sums = self.strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM,
                                                          [(slopes[place], variables[place]) for place in used])
        # as plain tensors, which the optimizer adds to others and applies on every device; sparse ones stay sparse
        plain = [self.strategy.experimental_local_results(gradient)[0] for gradient in sums]
        self.optimizer.apply(plain, [self.trainable_variables[place] for place in used])
        return self._told(losses, batch)

    def _test(self, *batch: Tensor) -> dict[str, Tensor]:
        return self._told(self.strategy.run(lambda *whole: self._loss(*part_of(whole), training=False), args=batch),
                          batch)

    def _gradients(self, *part: Tensor) -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            loss = self._loss(*part, training=True)
            scaled = self.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, [variable.value for variable in self.trainable_variables])

    def _loss(self, values: Tensor, truth: Tensor, weights: Tensor, *, training: bool) -> Tensor:
        """A part's share of the batch's loss: Keras divides the mean over the part by the number of parts."""
        return self.compute_loss(values, truth, self(values, training=training), weights, training=training)

    def _told(self, losses: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """The mean loss of the epoch's rows so far, as Keras reports it."""
        mean = next(metric for metric in self.metrics if metric.name == "loss")
        mean.update_state(self.strategy.reduce("SUM", losses, axis=None), sample_weight=tf.shape(batch[-1])[0])
        return {"loss": mean.result()}


def part_of(batch: Sequence[Tensor]) -> list[Tensor]:
    """In a replica: its part of a batch of values, truth and weights, [ceil(rows / replicas), ...] each. Weights are
    such that the mean of the parts' means is the mean over the rows of the batch."""
    context = tf.distribute.get_replica_context()
    parts = context.num_replicas_in_sync
    with tf.device("CPU:0"):  # where the batch is, so that only the part is copied to the device
        rows = tf.shape(batch[-1])[0]
        size = -(-rows // parts)
        places = context.replica_id_in_sync_group * size + tf.range(size)
        *others, weights = (tf.gather(array, tf.minimum(places, rows - 1)) for array in batch)
        share = tf.cast(size * parts, tf.float32) / tf.cast(rows, tf.float32)
        return [*others, tf.where(places < rows, weights * share, 0.0)]
