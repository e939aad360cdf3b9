"""For any head: gradient descent on cached features, with early stopping."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.split import carve
from kerastl.features.compute import Features
from kerastl.heads import GRADIENT_SETTINGS, ConfiguredHead
from kerastl.model import freeze
from kerastl.runtime import dtype_policy
from kerastl.stats import standard_error
from kerastl.training.fitters import Fitter, Job, RowsFit, in_turn
from kerastl.training.fitters.batches import Moments, batches_of
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.scaling import mean_and_scale
from kerastl.training.targets import loss_settings, row_weights
from kerastl.training.tracing import counted_as_new

MAX_EPOCHS, MAX_STEPS = 100, 300  # the more of the two: an epoch of few rows is few steps
PATIENCE, PATIENCE_STEPS = 10, 30  # epochs and steps
FEW_ROWS, INNER = 500, 3  # below so many rows, the epoch is chosen on so many inner folds


@dataclass
class Compiled:
    """A model that is compiled for the first fold and starts anew for each of the others, so that TensorFlow traces its
    training step once. state: what a new model has, its seeds included. optimizer: the values of its variables at the
    start."""

    model: Any = None
    state: list[Any] = field(default_factory=list)
    optimizer: list[NDArray[Any]] = field(default_factory=list)

    def started_as(self, new: Any, compile_model: Callable[[Any], None]) -> Any:
        """The compiled model in the state of a new one, which is compiled where it is the first."""
        if self.model is None:
            self.model, self.state = new, list(new.variables)
            compile_model(new)
            new.optimizer.build(new.trainable_variables)
            self.optimizer = [np.array(variable) for variable in new.optimizer.variables]
            return new
        own, start = [*self.state, *self.model.optimizer.variables], [*new.variables, *self.optimizer]
        for variable, value in zip(own, start, strict=True):
            variable.assign(value)
        return self.model


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    return descend(head, features, rows, validation, options, epochs=epochs)


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`. A head of the user's own may hold state that is in no variable: it is compiled for each fold."""
    if head.spec.custom:
        return in_turn(fit_rows, head, jobs, options)
    return in_turn(partial(descend, compiled=Compiled()), head, jobs, options)


def descend(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
            options: TrainingOptions, *, epochs: int | None = None, scaled: bool = False,
            prepare: Callable[[Any, NDArray[np.intp], NDArray[np.intp] | None], None] | None = None,
            on_epoch_begin: Callable[[Any, int], None] | None = None, compiled: Compiled | None = None,
            beside: Callable[[Any], Any] | None = None) -> RowsFit:
    """Train a head with AdamW until the validation loss has not improved for 10 epochs, and at least 30 steps, and keep
    the best weights.

    Without validation rows, a part of `rows` validates. Where rows are fewer than 500, that part would be too small:
    the number of epochs is chosen on three inner folds, and the head is trained on all rows for so many. With `epochs`,
    it trains for exactly so many and keeps the last weights.

    scaled: train on features scaled as in the solver, and fold the scaling into the one Dense layer. prepare(model,
    rows, validation): called with the new model and the rows that train and validate. on_epoch_begin(model, epoch):
    called with epochs from 0. compiled: to train the same head on other rows; the weights are as without it. beside:
    the new head -> the model to train, whose start is good already: it is kept where no epoch is better.
    """
    import keras

    from kerastl.optimizers import AdamW

    settings: dict[str, Any] = {"scaled": scaled, "prepare": prepare, "on_epoch_begin": on_epoch_begin,
                                "compiled": compiled or Compiled(), "beside": beside}
    everything = rows
    if validation is None and epochs is None:
        if len(rows) < FEW_ROWS and not head.spec.custom:
            return _by_inner_folds(head, features, rows, options, settings)
        mask = carve(features.examples, rows)
        rows, validation = rows[~mask], rows[mask]
    examples, runtime, build = features.examples, features.runtime, partial(_new, head, features, beside)
    keras.utils.set_random_seed(runtime.seed)
    with dtype_policy(runtime.precision if runtime.explicit_precision else "float32"):
        model = build()
    if prepare:
        prepare(model, rows, validation)

    def compile_model(new: Any) -> None:
        optimizer = AdamW(_setting(head, "learning_rate"), weight_decay=_setting(head, "weight_decay"))
        loss = examples.task.keras_loss(options.label_smoothing, options.gamma)
        new.compile(optimizer, loss, jit_compile=runtime.xla)

    model = settings["compiled"].started_as(model, compile_model)
    moments = mean_and_scale(features, rows) if scaled else None
    weights = row_weights(examples, rows, options.class_weights)
    start, history = _train(model, head, features, rows, validation, weights, moments, options, runtime.seed,
                            options.epochs if epochs is None else epochs, on_epoch_begin)
    kept = len(history) if validation is None or epochs == 0 else \
        int(np.argmin([epoch["val_loss"] for epoch in history])) + 1
    if beside and start is not None and history and history[kept - 1]["val_loss"] >= start:
        unchanged = descend(head, features, everything, validation if everything is rows else None, options, epochs=0,
                            **settings)
        return replace(unchanged, curve=history, start_loss=start)
    if moments:
        kernel, bias = model.get_weights()
        kernel = kernel / moments[1][:, None]
        model.set_weights([kernel, bias - moments[0] @ kernel])
    how = loss_settings(examples, rows, options.class_weights, options.label_smoothing)
    if options.gamma:
        how |= {"loss": options.loss, "gamma": options.gamma}
    return RowsFit(_in_float32(build, model), {"solver": "AdamW", "epochs": kept, **how}, history, kept, start)


def _by_inner_folds(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], options: TrainingOptions,
                    settings: dict[str, Any]) -> RowsFit:
    """The head trained on all these rows for as many epochs as have the lowest mean loss over inner folds. A fold that
    stopped early keeps its last loss from then on. A start that is good already is kept unless these epochs are better
    by more than one standard error over the folds."""
    masks = inner_folds(features.examples, rows, INNER)
    fits = [descend(head, features, rows[~mask], rows[mask], options, **settings) for mask in masks]
    longest = max(len(fit.curve) for fit in fits)
    share = np.array([mask.sum() for mask in masks]) / len(rows)
    curves = {name: share @ np.array([[epoch[name] for epoch in fit.curve] + [fit.curve[-1][name]]
                                      * (longest - len(fit.curve)) for fit in fits]) for name in ("loss", "val_loss")}
    best = int(np.argmin(curves["val_loss"]))
    starts = np.array([fit.start_loss for fit in fits if fit.start_loss is not None])
    start = float(share @ starts) if len(starts) == len(fits) else None
    epochs = best + 1
    if settings["beside"] and start is not None:
        gains = starts - [fit.curve[min(best, len(fit.curve) - 1)]["val_loss"] for fit in fits]
        if gains.mean() <= standard_error(gains, range(len(gains))):  # the best of many epochs is better by chance
            epochs = 0
    curve = tuple({"epoch": i + 1.0, **{name: float(values[i]) for name, values in curves.items()}}
                  for i in range(longest))
    return replace(descend(head, features, rows, None, options, epochs=epochs, **settings), curve=curve,
                   start_loss=start)


def _setting(head: ConfiguredHead, name: str) -> float:
    """A setting of AdamW; a head that is usually solved has none of its own."""
    return float(dict(head.settings).get(name, {**GRADIENT_SETTINGS, **head.spec.known}[name].default))


def _train(model: Any, head: ConfiguredHead, features: Features, rows: NDArray[np.intp],
           validation: NDArray[np.intp] | None, weights: NDArray[np.float32], moments: Moments | None,
           options: TrainingOptions, seed: int, epochs: int | None, on_epoch_begin: Callable[[Any, int], None] | None
           ) -> tuple[float | None, tuple[dict[str, float], ...]]:
    """Keras' own training loop. epochs: at most; None: early stopping decides. Returns the loss on the validation rows
    before training, and the history: epoch, loss and, with validation rows, val_loss for each epoch."""
    import keras

    if epochs == 0:
        return None, ()
    steps, batch_size = -(-len(rows) // options.head_batch_size), options.head_batch_size
    epochs = epochs or max(MAX_EPOCHS, -(-MAX_STEPS // steps))
    callbacks: list[Any] = []
    if on_epoch_begin:
        callbacks.append(keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: on_epoch_begin(model, epoch)))
    validating: dict[str, Any] = {}
    start = None
    with counted_as_new():
        if validation is not None:
            ones = np.ones(len(validation), np.float32)
            data, batches = batches_of(head, features, validation, ones, batch_size, moments), \
                -(-len(validation) // batch_size)
            start = float(model.evaluate(data, steps=batches, verbose=0, return_dict=True)["loss"])
            validating = {"validation_data": data, "validation_steps": batches}
            callbacks.append(keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=max(PATIENCE, -(-PATIENCE_STEPS // steps)), restore_best_weights=True))
        record = model.fit(batches_of(head, features, rows, weights, batch_size, moments, seed), epochs=epochs,
                           steps_per_epoch=steps, callbacks=callbacks, shuffle=False, verbose=0, **validating).history
    return start, tuple({"epoch": float(i + 1), **{name: float(values[i]) for name, values in record.items()}}
                        for i in range(len(record["loss"])))


def _new(head: ConfiguredHead, features: Features, beside: Callable[[Any], Any] | None) -> Any:
    new = head.build(features.shape, len(features.examples.classes), features.raw if head.spec.takes_raw else None)
    return beside(new) if beside else new


def _in_float32(build: Callable[[], Any], model: Any) -> Any:
    """The same head in float32, as it is exported; it does not train any more."""
    with dtype_policy("float32"):
        copy = build()
    copy.set_weights(model.get_weights())
    freeze(copy)
    return copy


FITTER = Fitter(fit_rows, descends=True, cross_fit=cross_fit)
