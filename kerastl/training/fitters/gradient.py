"""For any head: gradient descent on cached features, read from disk batch by batch, with early stopping."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.split import carve
from kerastl.features.compute import Features
from kerastl.heads import GRADIENT_SETTINGS, ConfiguredHead
from kerastl.model import freeze
from kerastl.runtime import dtype_policy
from kerastl.training.fitters import Fitter, RowsFit
from kerastl.training.options import TrainingOptions
from kerastl.training.scaling import mean_and_scale
from kerastl.training.targets import loss_settings, row_weights

MAX_EPOCHS = 100
PATIENCE = 10

Moments = tuple[NDArray[np.float32], NDArray[np.float32]]  # mean and scale, [dim] each


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    return descend(head, features, rows, validation, options, epochs=epochs)


def descend(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
            options: TrainingOptions, *, epochs: int | None = None, scaled: bool = False,
            prepare: Callable[[Any, NDArray[np.intp], NDArray[np.intp] | None], None] | None = None,
            on_epoch_begin: Callable[[Any, int], None] | None = None) -> RowsFit:
    """Train a head with AdamW until the validation loss has not improved for 10 epochs, and keep the best weights.

    Without validation rows, a part of `rows` validates. With `epochs`, it trains for exactly so many and keeps the
    last weights. scaled: train on features scaled as in the solver, and fold the scaling into the one Dense layer.
    prepare(model, rows, validation): called with the new model and the rows that train and validate.
    on_epoch_begin(model, epoch): called with epochs from 0.
    """
    import keras

    if validation is None and epochs is None:
        mask = carve(features.examples, rows)
        rows, validation = rows[~mask], rows[mask]
    examples, runtime = features.examples, features.runtime
    keras.utils.set_random_seed(runtime.seed)
    with dtype_policy(runtime.precision if runtime.explicit_precision else "float32"):
        model = _new(head, features)
    if prepare:
        prepare(model, rows, validation)
    optimizer = keras.optimizers.AdamW(_setting(head, "learning_rate"), weight_decay=_setting(head, "weight_decay"))
    model.compile(optimizer, examples.task.keras_loss(options.label_smoothing), jit_compile=runtime.xla)
    moments = mean_and_scale(features, rows) if scaled else None
    weights = row_weights(examples, rows, options.class_weights)
    history = _train(model, head, features, rows, validation, weights, moments, options.head_batch_size, runtime.seed,
                     epochs or options.epochs or MAX_EPOCHS, on_epoch_begin)
    if moments:
        kernel, bias = model.get_weights()
        kernel = kernel / moments[1][:, None]
        model.set_weights([kernel, bias - moments[0] @ kernel])
    kept = len(history) if validation is None else int(np.argmin([epoch["val_loss"] for epoch in history])) + 1
    settings = loss_settings(examples, rows, options.class_weights, options.label_smoothing)
    return RowsFit(_in_float32(head, features, model), {"solver": "AdamW", "epochs": kept, **settings}, history, kept)


def _setting(head: ConfiguredHead, name: str) -> float:
    """A setting of AdamW; a head that is usually solved has none of its own."""
    return float(dict(head.settings).get(name, {**GRADIENT_SETTINGS, **head.spec.known}[name].default))


def _train(model: Any, head: ConfiguredHead, features: Features, rows: NDArray[np.intp],
           validation: NDArray[np.intp] | None, weights: NDArray[np.float32], moments: Moments | None, batch_size: int,
           seed: int, epochs: int, on_epoch_begin: Callable[[Any, int], None] | None) -> tuple[dict[str, float], ...]:
    """Keras' own training loop. Returns its history: epoch, loss and, with validation rows, val_loss for each epoch."""
    import keras

    callbacks: list[Any] = []
    if on_epoch_begin:
        callbacks.append(keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: on_epoch_begin(model, epoch)))
    validating: dict[str, Any] = {}
    if validation is not None:
        ones = np.ones(len(validation), np.float32)
        validating = {"validation_data": _batches(head, features, validation, ones, batch_size, moments),
                      "validation_steps": -(-len(validation) // batch_size)}
        callbacks.append(keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE,
                                                       restore_best_weights=True))
    with _counted_as_new():
        record = model.fit(_batches(head, features, rows, weights, batch_size, moments, seed), epochs=epochs,
                           steps_per_epoch=-(-len(rows) // batch_size), callbacks=callbacks, shuffle=False, verbose=0,
                           **validating).history
    return tuple({"epoch": float(i + 1), **{name: float(values[i]) for name, values in record.items()}}
                 for i in range(len(record["loss"])))


@contextmanager
def _counted_as_new() -> Iterator[None]:
    """Within, TensorFlow does not warn of Keras' training function being traced again. It counts traces by the line of
    the source, so that the fifth head that is trained for a few steps, as in cross-validation, looks to it like one
    function that was traced five times; each is traced once."""
    logger = logging.getLogger("tensorflow")

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not ("triggered tf.function retracing" in message and "TensorFlowTrainer" in message)

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _batches(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], weights: NDArray[np.float32],
             batch_size: int, moments: Moments | None, seed: int | None = None) -> Any:
    """(features, targets, weights) batches without end, reshuffled each time through when seeded. For a head that
    takes the raw input, the first is a pair, of features and raw rows."""
    examples, raw = features.examples, features.raw if head.spec.takes_raw else None
    mean, scale = moments or (0.0, 1.0)

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        generator = np.random.default_rng(seed)
        while True:
            order = generator.permutation(len(rows)) if seed is not None else np.arange(len(rows))
            for start in range(0, len(order), batch_size):
                batch = order[start:start + batch_size]
                x: Any = (features.rows(rows[batch]) - mean) / scale
                if raw:
                    x = (x, features.raw_rows(rows[batch]))
                yield x, examples.training_targets(rows[batch]), weights[batch]

    spec: Any = tf.TensorSpec([None, *features.shape], tf.float32)
    if raw:
        spec = (spec, tf.TensorSpec([None, *raw.shape], features.raw_rows(rows[:1]).dtype))
    signature = (spec, tf.TensorSpec([None, len(examples.classes)], tf.float32), tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)


def _new(head: ConfiguredHead, features: Features) -> Any:
    return head.build(features.shape, len(features.examples.classes), features.raw if head.spec.takes_raw else None)


def _in_float32(head: ConfiguredHead, features: Features, model: Any) -> Any:
    """The same head in float32, as it is exported; it does not train any more."""
    with dtype_policy("float32"):
        copy = _new(head, features)
    copy.set_weights(model.get_weights())
    freeze(copy)
    return copy


FITTER = Fitter(fit_rows)
