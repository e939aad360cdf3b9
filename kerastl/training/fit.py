"""Fitting a head on cached features, and its answers on rows it was not fitted on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.data.split import carve, folds
from kerastl.decision import Predictions
from kerastl.errors import OptionError
from kerastl.features.compute import Features
from kerastl.heads import CLASS_WEIGHTS, Head, head_of
from kerastl.model import predict_logits
from kerastl.runtime import Runtime, free_memory
from kerastl.training.fitters.convex import Linear, solve
from kerastl.training.fitters.gradient import train_by_gradient

MOST = 20_000  # rows that a head is solved on where not all fit into memory
UNBALANCED = 10.0  # the largest class over the smallest, from which classes are weighted by `auto`


@dataclass(frozen=True)
class FittedHead:
    """A head and what is known of it. `held_out`: its predictions for rows that it, or its fold's
    counterpart, was not fitted on."""

    name: str
    head: Any  # keras.Model: features [batch, *shape] float32 -> logits [batch, outputs] float32
    held_out: Predictions
    validation: Predictions | None  # answers on the rows that chose settings; None when cross-validated
    settings: dict[str, float | str | int]
    curve: tuple[dict[str, float], ...]  # training curve (epoch, loss, val_loss), or strengths tried (l2, log_loss)
    seconds: float


@dataclass(frozen=True)
class _How:
    head: Head
    runtime: Runtime
    epochs: int | None
    batch_size: int
    class_weights: str
    label_smoothing: float


def fit(features: Features, head: str = "linear", *, runtime: Runtime, epochs: int | None = None, batch_size: int = 64,
        class_weights: str = "auto", label_smoothing: float = 0.0,
        of_fold: Callable[[int], Features] | None = None) -> FittedHead:
    """Fit a head on the training rows; for cross-validated data one a fold, then the one that ships on all rows.

    Whatever is chosen (L2 strength, epoch) is chosen inside the training rows, or on the validation rows.
    class_weights: `balanced` weighs rows by the rarity of their class, `auto` does so when the largest class has 10
    times the rows of the smallest. label_smoothing: in [0, 1). epochs: at most so many. of_fold: the features that
    judge a fold, where they are not those that ship: of a backbone tuned without the fold's rows.
    """
    if class_weights not in CLASS_WEIGHTS:
        raise OptionError(f"--class-weights {class_weights}", f"one of {', '.join(CLASS_WEIGHTS)}", "leave it out")
    if not 0 <= label_smoothing < 1:
        raise OptionError(f"--label-smoothing {label_smoothing}", "a share in [0, 1)", "0.1 is usual")
    if class_weights == "balanced" and features.examples.multi_label:
        raise OptionError("--class-weights balanced where a row has several labels", "auto or none",
                          "leave it out: each class has a threshold of its own there")
    asked = head_of(head).on(features.parts)
    if asked.side and features.raw is None:
        raise OptionError(f"the head {head} on features alone", "features with the raw inputs beside them",
                          "features = kerastl.features.raw_inputs.with_raw(features, backbone, cache_dir=...)")
    if asked.computed and (class_weights == "balanced" or label_smoothing):
        raise OptionError(f"--class-weights {class_weights} --label-smoothing {label_smoothing} with {head}",
                          "neither, for it is computed without a loss", "leave them out")
    start = time.perf_counter()
    how = _How(asked, runtime, epochs, batch_size, class_weights, label_smoothing)
    split = features.examples.split
    assert split is not None, "split the examples before fitting"
    if split.mode == "cv":
        fitted = _cross_validate(features, how, of_fold or (lambda fold: features))
    else:
        rows, validation = split.rows(TRAIN), split.rows(VALIDATION)
        model, settings, curve = _fit_rows(features, rows, validation, how)
        fitted = FittedHead(head, model, _answer(model, features, split.held_out),
                        _answer(model, features, validation, held_out=False), settings, curve, 0.0)
    return FittedHead(fitted.name, fitted.head, fitted.held_out, fitted.validation, fitted.settings, fitted.curve,
                  time.perf_counter() - start)


def _cross_validate(features: Features, how: _How, of_fold: Callable[[int], Features]) -> FittedHead:
    split = features.examples.split
    assert split is not None
    logits = np.zeros((len(features.examples), len(features.examples.classes)), np.float32)
    epochs = []
    for fold in split.folds:
        own = of_fold(fold)
        model, settings, _ = _fit_rows(own, np.flatnonzero(split.part != fold), None, how)
        held_out = np.flatnonzero(split.part == fold)
        logits[held_out] = _answer(model, own, held_out).logits
        epochs.append(int(settings.get("epochs", 0)))
    everything = np.arange(len(features.examples))
    if _is_solved(how.head, features, everything):
        model, settings, curve = _fit_rows(features, everything, None, how)
    else:  # no row is left to stop on: train for as long as the folds did in the middle
        model, settings, curve = _descend(features, everything, None, how, max(1, int(np.median(epochs))))
    return FittedHead(how.head.asked, model, Predictions(everything, logits), None, settings, curve, 0.0)


def held_out_predictions(features: Features, head: str, fold: int, *, runtime: Runtime, epochs: int | None = None,
                   class_weights: str = "auto", label_smoothing: float = 0.0, batch_size: int = 64) -> Predictions:
    """A head's answers on the rows that judge, without the head that would ship. Of cross-validated rows on those of
    one fold, by a head of the others."""
    how = _How(head_of(head).on(features.parts), runtime, epochs, batch_size, class_weights, label_smoothing)
    split = features.examples.split
    assert split is not None, "split the examples before fitting"
    if split.mode == "cv":
        model, _, _ = _fit_rows(features, np.flatnonzero(split.part != fold), None, how)
        return _answer(model, features, np.flatnonzero(split.part == fold))
    model, _, _ = _fit_rows(features, split.rows(TRAIN), split.rows(VALIDATION), how)
    return _answer(model, features, split.held_out)


def _answer(model: Any, features: Features, rows: NDArray[np.intp], held_out: bool = True) -> Predictions:
    """Answers on rows, by default as the export computes their features."""
    raw = len(model.inputs) > 1
    step = 4096 if len(features.shape) == 1 else 64  # of maps, what a network makes of many at once fills the memory
    blocks = [predict_logits(model, features.inputs(rows[i:i + step], raw=raw, held_out=held_out))
              for i in range(0, len(rows), step)]
    return Predictions(rows, np.concatenate(blocks))


def _fit_rows(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None, how: _How
              ) -> tuple[Any, dict[str, float | str | int], tuple[dict[str, float], ...]]:
    """One head on some rows. Without validation rows, settings are chosen on rows held out from these."""
    if not _is_solved(how.head, features, rows):
        if validation is None:
            mask = carve(features.examples, rows)
            rows, validation = rows[~mask], rows[mask]
        return _descend(features, rows, validation, how, how.epochs)
    examples = features.examples
    if how.head.computed:
        held_out = _held_out(examples, rows, validation)
        choosing = [(rows, validation)] if validation is not None else [(rows[~one], rows[one]) for one in held_out]
        weights, said = how.head.computed(features.rows, examples.one_hot, rows, choosing, examples.multi_label)
        model = how.head.made(features.shape, len(examples.classes))
        model.set_weights(weights)
        return model, said, ()
    found = _solved(features, rows, validation, how)
    model = how.head.made(features.shape, len(examples.classes))
    model.set_weights([found.kernel, found.bias])
    settings: dict[str, float | str | int] = {"solver": "L-BFGS", "l2": found.l2, **_said(examples, rows, how)}
    return model, settings, tuple({"l2": l2, "log_loss": loss} for l2, loss in found.path)


def _held_out(examples: Examples, rows: NDArray[np.intp], validation: NDArray[np.intp] | None
              ) -> list[NDArray[np.bool_]]:
    """Masks over `rows` that are each left out in turn, to choose on; none where there are validation rows."""
    if validation is not None:
        return []
    inner = folds(examples, 5 if len(rows) <= 2000 else 3, rows)
    return [inner == fold for fold in sorted(set(inner.tolist()))]


def _solved(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None, how: _How) -> Linear:
    examples = features.examples
    y, weight = smoothed(examples, rows, how.label_smoothing), row_weights(examples, rows, how.class_weights)
    held_out = _held_out(examples, rows, validation)
    return solve(features.rows(rows), y, weight, held_out, multi_label=examples.multi_label, parts=features.parts,
                 validation=(features.rows(validation), examples.one_hot(validation)) if validation is not None
                 else None)


def _descend(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None, how: _How,
             epochs: int | None) -> tuple[Any, dict[str, float | str | int], tuple[dict[str, float], ...]]:
    start = None
    if how.head.side and how.head.side.solved(how.head):  # of more rows than fit into memory, on as many as will
        some = rows if _in_memory(features, rows) else np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
        found = _solved(features, some, validation, how)
        start = (found.kernel, found.bias)
    trained = train_by_gradient(how.head, features, rows, validation,
                                row_weights(features.examples, rows, how.class_weights), how.runtime, epochs=epochs,
                                batch_size=how.batch_size, label_smoothing=how.label_smoothing, start=start)
    said = _said(features.examples, rows, how)
    side = how.head.side.found(trained.head) if how.head.side else {}
    return trained.head, {"solver": "AdamW", "epochs": trained.epochs, **said, **side}, trained.history


def _said(examples: Examples, rows: NDArray[np.intp], how: _How) -> dict[str, float | str | int]:
    balanced = not np.allclose(row_weights(examples, rows, how.class_weights), 1.0)
    return {"class_weights": "balanced" if balanced else "none", "label_smoothing": how.label_smoothing}


def row_weights(examples: Examples, rows: NDArray[np.intp], how: str) -> NDArray[np.float32]:
    """The loss weight of each row, [len(rows)], with mean 1. how: one of CLASS_WEIGHTS."""
    counts = examples.one_hot(rows).sum(axis=0)
    present = counts[counts > 0]
    if how == "none" or examples.multi_label or (how == "auto" and present.max() < UNBALANCED * present.min()):
        return np.ones(len(rows), np.float32)
    each = len(rows) / (len(present) * counts.clip(1))
    return each[examples.targets[rows]].astype(np.float32)


def smoothed(examples: Examples, rows: NDArray[np.intp], share: float) -> NDArray[np.float32]:
    """What training aims at, with a share of its weight spread evenly. [len(rows), classes]."""
    y = examples.training_targets(rows)
    even = 0.5 if examples.multi_label else 1 / y.shape[1]
    return (y * (1 - share) + share * even).astype(np.float32)


def _is_solved(head: Head, features: Features, rows: NDArray[np.intp]) -> bool:
    """Whether a head comes from its rows at once and not by gradient descent."""
    return head.computed is not None or (head.convex and _in_memory(features, rows))


def _in_memory(features: Features, rows: NDArray[np.intp]) -> bool:
    """Whether the solver's copies of these rows fit into half of what memory is free."""
    return len(rows) * features.dim * 4 * 4 < free_memory() / 2
