"""Heads trained by gradient descent on cached features: tf.data and Keras, rows read from disk batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import Head, Raw, Shape
from kerastl.model import freeze
from kerastl.runtime import Runtime, dtype_policy
from kerastl.training.fitters.convex import scale_of

MAX_EPOCHS = 100
PATIENCE = 10


@dataclass(frozen=True)
class GradientFit:
    """A head with its weights, in float32, and how it got there."""

    head: Any  # keras.Model: [batch, *shape] -> [batch, outputs]
    epochs: int  # how many the kept weights had
    history: tuple[dict[str, float], ...]  # an epoch each: epoch, loss, and val_loss where there were validation rows


def train_by_gradient(head: Head, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
                      weight: NDArray[np.float32], runtime: Runtime, *, epochs: int | None = None, batch_size: int = 64,
                      label_smoothing: float = 0.0, start: tuple[Any, Any] | None = None) -> GradientFit:
    """Train a head on cached rows. weight: [len(rows)], the loss weight of each. start: see `heads.Side`.

    With validation rows, training stops when their loss has not improved for 10 epochs and the best weights are kept;
    without, it runs for `epochs` and keeps the last.
    """
    import keras

    examples = features.examples
    outputs, raw = len(examples.classes), features.raw if head.side else None
    keras.utils.set_random_seed(runtime.seed)
    with dtype_policy(runtime.precision if runtime.explicit_precision else "float32"):
        model = head.made(features.shape, outputs, raw)
    side = head.side
    if side:
        side.prepare(model, _moments(features, rows),
                     lambda: (features.raw_rows(rows[i:i + 4096]) for i in range(0, len(rows), 4096)), start)
    loss: Any = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    if examples.multi_label:
        loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    optimizer = keras.optimizers.AdamW(head.value("rate"), weight_decay=head.value("weight_decay"))
    model.compile(optimizer, loss, jit_compile=runtime.xla)
    moments = _moments(features, rows) if head.convex else None
    callbacks: list[Any] = []
    if side:
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: side.at_epoch(model, epoch))]
    train = _dataset(features, rows, weight, batch_size, moments, seed=runtime.seed, raw=raw)
    steps = -(-len(rows) // batch_size)
    data, val_steps = None, None
    if validation is not None:
        data = _dataset(features, validation, np.ones(len(validation), np.float32), batch_size, moments, raw=raw)
        val_steps = -(-len(validation) // batch_size)
        callbacks.append(keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE,
                                                       restore_best_weights=True))
    record = model.fit(train, epochs=epochs or MAX_EPOCHS, steps_per_epoch=steps, validation_data=data,
                       validation_steps=val_steps, callbacks=callbacks, shuffle=False, verbose=0).history
    history = tuple({"epoch": float(i + 1), **{name: float(values[i]) for name, values in record.items()}}
                    for i in range(len(record["loss"])))
    best = int(np.argmin(record["val_loss"])) + 1 if validation is not None else len(history)
    if moments:  # as in the solver, the scaling is folded into the one layer
        kernel, bias = model.get_weights()
        kernel = kernel / moments[1][:, None]
        model.set_weights([kernel, bias - moments[0] @ kernel])
    return GradientFit(_in_float32(head, model, features.shape, outputs, raw), best, history)


def _moments(features: Features, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the solver takes off each feature and divides it by, [dim] each, a block of rows at a time. Without, one
    Dense layer learns features of a small scale so slowly that it stops long before the solution."""
    first, total, squares = features.rows(rows[:1]), np.zeros(features.dim), np.zeros(features.dim)
    for start in range(0, len(rows), 4096):
        block = (features.rows(rows[start:start + 4096]) - first).astype(np.float64)
        total, squares = total + block.sum(axis=0), squares + (block**2).sum(axis=0)
    mean = total / len(rows)
    variance = (squares / len(rows) - mean**2).clip(0)
    return (first[0] + mean).astype(np.float32), scale_of(variance, features.parts)


def _dataset(features: Features, rows: NDArray[np.intp], weight: NDArray[np.float32], batch_size: int,
             moments: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None, seed: int | None = None,
             raw: Raw | None = None) -> Any:
    """(features, targets, weights) batches without end, reshuffled each time through when seeded. With `raw`, the first
    is a pair, of features and raw rows."""
    examples = features.examples
    centre, scale = moments or (0.0, 1.0)

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        generator = np.random.default_rng(seed)
        while True:
            order = generator.permutation(len(rows)) if seed is not None else np.arange(len(rows))
            for start in range(0, len(order), batch_size):
                chosen = order[start:start + batch_size]
                x: Any = (features.rows(rows[chosen]) - centre) / scale
                if raw:
                    x = (x, features.raw_rows(rows[chosen]))
                yield x, examples.training_targets(rows[chosen]), weight[chosen]

    outputs = len(examples.classes)
    spec: Any = tf.TensorSpec([None, *features.shape], tf.float32)
    if raw:
        spec = (spec, tf.TensorSpec([None, *raw.shape], features.raw_rows(rows[:1]).dtype))
    signature = (spec, tf.TensorSpec([None, outputs], tf.float32), tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)


def _in_float32(head: Head, model: Any, shape: Shape, outputs: int, raw: Raw | None) -> Any:
    with dtype_policy("float32"):
        twin = head.made(shape, outputs, raw)
    twin.set_weights(model.get_weights())
    freeze(twin)
    return twin
