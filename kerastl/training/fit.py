"""Fitting a head on cached features, and its predictions for rows that it was not fitted on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, VALIDATION, Split
from kerastl.data.split import split_of
from kerastl.decision import Predictions
from kerastl.errors import DataError, OptionError, expect
from kerastl.features.compute import ADD_RAW, Features
from kerastl.heads import PLACES, ConfiguredHead, HeadLike, check_custom_head, resolve_head
from kerastl.model import predict_logits
from kerastl.training.choice import HeadChoice, Rival
from kerastl.training.fine_tuning.result import as_history
from kerastl.training.fitters import RowsFit, fitter_named
from kerastl.training.options import DEFAULTS, TrainingOptions, check_options

FEATURES = "features, as kerastl.compute_features returns them"
MOST_KEPT = 50_000_000  # parameters of the heads of folds together
OPTIONS = "options, as kerastl.TrainingOptions makes them"


@dataclass(frozen=True)
class FittedHead:
    """A fitted head.

    held_out: predictions for the held-out rows, from which the reported figures are computed. With a hold-out they are
    this head's. In cross-validation each row is predicted by the head of its fold, which was not fitted on it.
    fold_heads: these heads, by fold, to explain their predictions; only so many as are small together, and none where
    they are of other features than this head."""

    name: str  # with its settings, as `resolve_head` reads it
    head: Any  # keras.Model: features [batch, *shape] float32 -> logits [batch, outputs] float32
    held_out: Predictions
    validation: Predictions | None  # predictions for the rows that chose settings; None when cross-validated
    settings: dict[str, float | str | int]
    curve: tuple[dict[str, float], ...]  # for each epoch: epoch, loss, val_loss; or for each L2 strength: l2, log_loss
    seconds: float
    choice: HeadChoice | None = None  # of a head that chose among several
    backbones: Mapping[str, Rival] = field(default_factory=dict)  # `frozen` and `tuned`, where one of them was chosen
    fold_heads: Mapping[int, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"FittedHead({self.name}, fitted in {self.seconds:.1f} s, held out: {self.held_out!r})"

    @property
    def history(self) -> dict[str, list[float]]:
        """The curve as Keras' `History.history` has it: the values of each quantity, in order."""
        return as_history(self.curve)


def fit(features: Features, head: HeadLike = "linear", *, options: TrainingOptions = DEFAULTS,
        fold_features: Mapping[int, Features] | None = None) -> FittedHead:
    """Fit a head on the training rows; cross-validated, fit one per fold, then the one that ships on all rows.

    Whatever is chosen (an L2 strength, an epoch) is chosen inside the training rows, or on the validation rows. head:
    see `resolve_head`. fold_features: the features that each fold is fitted and evaluated on, where they are not
    those that ship: a backbone that was fine-tuned without the rows of the fold gives others.

    Raises OptionError for a head or options that do not exist or do not fit the features.
    """
    start = time.perf_counter()
    configured, sha256 = _checked_head(features, head, options)
    split = split_of(features.examples)
    fold_heads: dict[int, Any] = {}
    if split.mode == "cv":
        shipped, held_out, choice = _cross_validate(features, configured, options, fold_features or {}, fold_heads)
        validation = None
    else:
        shipped, held_out = _fit_and_predict(features, configured, options)
        validation = _predict(shipped.model, features, split.rows(VALIDATION), held_out=False)
        choice = _choice(configured, shipped, {
            name: Rival(Predictions(held_out.rows, logits(held_out.rows)),
                        Predictions(validation.rows, logits(validation.rows, held_out=False)))
            for name, logits in shipped.rivals.items()}, [shipped.name])
    settings = {**shipped.settings, **({"head_sha256": sha256} if sha256 else {})}
    return FittedHead(shipped.name or configured.text, shipped.model, held_out, validation, settings, shipped.curve,
                      time.perf_counter() - start, choice, fold_heads=fold_heads)


def held_out_predictions(features: Features, head: HeadLike, fold: int | None = None, *,
                         options: TrainingOptions = DEFAULTS) -> Predictions:
    """Predictions of a head for held-out rows, without fitting the head that would ship: for the rows of a fold, by a
    head fitted on the other folds; of a hold-out, which has no folds, for the test rows. Raises OptionError for a fold
    that does not exist."""
    folds: Sequence[int | None] = split_of(features.examples).folds or [None]
    if fold not in folds:
        raise OptionError(f"`fold` is {fold}", f"one of {', '.join(map(str, folds))}")
    configured, _ = _checked_head(features, head, options)
    return _fit_and_predict(features, configured, options, fold)[1]


def _checked_head(features: Features, head: HeadLike, options: TrainingOptions) -> tuple[ConfiguredHead, str]:
    """The head for these features, and the SHA-256 of one of the user's own. Raises OptionError for what does not
    fit."""
    expect(Features, FEATURES, features=features)
    expect(TrainingOptions, OPTIONS, options=options)
    configured, examples = resolve_head(head, features.parts), features.examples
    fitter = fitter_named(configured.spec.fitter)
    check_options(options, configured, examples.task, minimises_loss=fitter.minimises_loss,
                  descends=fitter.descends)
    if configured.spec.takes == PLACES and not configured.spec.custom and len(features.shape) == 1:
        raise OptionError(f"`head` is {configured.text!r}, but the features are pooled to rows of {features.dim}",
                          "maps or token states", "load the backbone with `pooling=none`: see kerastl.pooling_for")
    if configured.spec.takes_raw and features.raw is None:
        raise OptionError(f"`head` is {configured.text!r}, which also takes the raw input", "features with the raw "
                          "inputs", ADD_RAW)
    if not configured.spec.custom:
        return configured, ""
    return configured, check_custom_head(configured, features.shape, len(examples.classes),
                                         features.raw if configured.spec.takes_raw else None)


def _cross_validate(features: Features, head: ConfiguredHead, options: TrainingOptions,
                    fold_features: Mapping[int, Features], fold_heads: dict[int, Any]
                    ) -> tuple[RowsFit, Predictions, HeadChoice | None]:
    """The head that ships, fitted on all rows, and for each row the prediction of a head fitted without its fold; and
    the heads that it was chosen among. fold_heads: is filled, see `FittedHead`."""
    rows, split = np.arange(len(features.examples)), split_of(features.examples)
    logits = np.zeros((len(rows), len(features.examples.classes)), np.float32)
    of_fold = {fold: (fold_features.get(fold, features), *_rows_of(split, fold)) for fold in split.folds}
    fits = fitter_named(head.spec.fitter).fits(
        head, [*((own, training) for own, training, _ in of_fold.values()), (features, rows)], options)
    rivals: dict[str, NDArray[np.float32]] = {}
    names, parameters = [], 0
    for (fold, (own, _, held_out)), fitted in zip(of_fold.items(), fits, strict=False):  # the last fit is of all rows
        parameters += fitted.model.count_params()
        if own is features and parameters <= MOST_KEPT:
            fold_heads[fold] = fitted.model
        logits[held_out] = _predict(fitted.model, own, held_out).logits
        names.append(fitted.name)
        for name, of_rival in fitted.rivals.items():
            rivals.setdefault(name, np.zeros_like(logits))[held_out] = of_rival(held_out)
    shipped, predictions = next(fits), Predictions(rows, logits)
    return shipped, predictions, _choice(head, shipped, {name: Rival(Predictions(rows, of_rival)) for name, of_rival in
                                                   rivals.items()}, names)


def _choice(head: ConfiguredHead, shipped: RowsFit, rivals: Mapping[str, Rival], folds: Sequence[str]
            ) -> HeadChoice | None:
    """What a fit chose among several heads; None for another."""
    return HeadChoice(head.text, shipped.name, shipped.reason, rivals, tuple(folds), shipped.simple_wins
                      ) if shipped.name else None


def _fit_and_predict(features: Features, head: ConfiguredHead, options: TrainingOptions, fold: int | None = None
                     ) -> tuple[RowsFit, Predictions]:
    """A head fitted without the held-out rows, and its predictions for them. fold: that is held out; None: the test
    rows of a hold-out."""
    split = split_of(features.examples)
    rows, held_out = _rows_of(split, fold)
    validation = split.rows(VALIDATION) if fold is None else None
    fitted = fitter_named(head.spec.fitter).fit_rows(head, features, rows, validation, options)
    return fitted, _predict(fitted.model, features, held_out)


def _rows_of(split: Split, fold: int | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Training rows and held-out rows: of a fold, or of a hold-out. Raises DataError where either are none."""
    if fold is None:
        rows, held_out = split.rows(TRAIN), split.held_out
    else:
        rows, held_out = np.flatnonzero(split.part != fold), np.flatnonzero(split.part == fold)
    if not len(rows) or not len(held_out):
        raise DataError(f"{len(rows)} training rows and {len(held_out)} held-out rows are left",
                        "at least one of each", "see what is skipped: kerastl check")
    return rows, held_out


def _predict(model: Any, features: Features, rows: NDArray[np.intp], held_out: bool = True) -> Predictions:
    """Predictions for rows, by default from features computed as the exported model computes them."""
    raw = len(model.inputs) > 1
    step = 4096 if len(features.shape) == 1 else 64  # what a network makes of many feature maps fills the memory
    blocks = [predict_logits(model, features.inputs(rows[i:i + step], raw=raw, held_out=held_out))
              for i in range(0, len(rows), step)]
    return Predictions(rows, np.concatenate(blocks))
