"""The learning curve of labelled rows: how many more labels an accuracy would take."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST, Examples
from kerastl.errors import KerastlError, OptionError, all_of, at_least, broken, expect
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.studies.learning_curve.extrapolation import (
    INNER,
    Extrapolation,
    check,
    extrapolate,
    last_doubling,
    rows_until,
)
from kerastl.studies.learning_curve.measurement import Measured, measure
from kerastl.studies.learning_curve.subsets import FOLDS, Rows, fewest_rows, sizes_of
from kerastl.training.fit import FEATURES, OPTIONS
from kerastl.training.fitters.convex import fits_in_memory
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.versions.learning_curve import FARTHEST, ClassCurve, HiddenSize, LearningCurve, SizeAccuracy

REPEATS = 2  # rounds in which every row measures once
REPLICATES = 400  # of the bootstrap
FEWER = 0.75  # the errors of the target over those of now, where no accuracy is asked for
CERTAIN = 2.0  # standard errors, above which a miss of the hidden size is no chance
POINTS = 81  # from the rows of now to the farthest: steps of 1.7%
MOST_CLASSES = 100  # whose gain is estimated
FEWEST_LABELS = 10  # of a class whose gain is estimated


def learning_curve(features: Features, *, target_accuracy: float | None = None, repeats: int = REPEATS,
                   options: TrainingOptions = DEFAULTS) -> LearningCurve:
    """How the accuracy of the `linear` head grows with the number of rows, and how many more rows an accuracy takes.

    Heads are fitted on 7 sizes of subsets, stratified by class and with clusters whole, and predict rows that they were
    not fitted on; test rows of a hold-out are not used at all. A power law with an offset and a second family of curves
    are fitted to the error rates, checked on the largest size, which is hidden from them, and extrapolated to at most 4
    times the rows. Intervals (80%) are those of a bootstrap over clusters of rows and over fits.

    target_accuracy: in (0, 1), that is asked for; default: a quarter fewer errors than now. repeats: rounds in which
    every row measures once, each of which takes 5 fits of each size. options: class weights and label smoothing.
    Raises OptionError for an accuracy or repeats that cannot be used.
    """
    start = time.perf_counter()
    expect(Features, FEATURES, features=features)
    expect(TrainingOptions, OPTIONS, options=options)
    check_arguments(target_accuracy, repeats)
    examples = features.examples
    rows = usable_rows(examples)
    if reason := _unmeasurable(features, rows):
        return replace(_nothing_yet(features, rows, target_accuracy), reason=reason)
    sizes = sizes_of(len(rows), len(examples.classes))
    measured = measure(features, rows, sizes, repeats * FOLDS, options)
    curve = predicted_curve(features, rows, measured, target_accuracy)
    return replace(curve, seconds=time.perf_counter() - start)


def usable_rows(examples: Examples) -> Rows:
    """The rows of a curve: all but the test rows of a hold-out."""
    split = examples.split
    return np.arange(len(examples)) if split is None or split.mode == "cv" else np.flatnonzero(split.part != TEST)


def scope_of(features: Features) -> str:
    """What the curve stands for."""
    pooled = "" if len(features.shape) == 1 else ", averaged over places,"
    task = features.examples.task
    several = "" if task.exclusive else " A row counts as correct if all its labels are, with thresholds of 0.5."
    return (f"The curve is that of the linear head on the features of {features.backbone.name}{pooled} and holds for "
            f"rows like the present ones, in the same shares of classes.{several}")


def check_arguments(target_accuracy: float | None, repeats: int) -> None:
    """Raises OptionError for an accuracy or a number of rounds that cannot be used."""
    expect(int, "a number of rounds", repeats=repeats)
    faults: list[KerastlError] = broken(at_least(1, "repeats"), {"repeats": repeats})
    if target_accuracy is not None and not (isinstance(target_accuracy, float | int) and 0 < target_accuracy < 1):
        faults.append(OptionError(f"`target_accuracy` is {target_accuracy!r}", "a number between 0 and 1",
                                  "for 90% write 0.9"))
    if faults:
        raise all_of(faults)


def _unmeasurable(features: Features, rows: Rows) -> str:
    """Why no curve can be measured; empty where one can."""
    examples = features.examples
    classes, clusters = len(examples.classes), len(set(examples.clusters_of(rows)))
    if min(len(rows), clusters) < (least := fewest_rows(classes)):
        groups = f" in {clusters:,} groups or near-duplicates" if clusters < len(rows) else ""
        return (f"there are too few {examples.modality.nouns}: {len(rows):,}{groups}, and a curve of {classes:,} "
                f"class{'es' * (classes != 1)} takes at least {least:,}")
    if not fits_in_memory(means_of(features)):
        return "the features of all rows do not fit into memory"
    return ""


def _nothing_yet(features: Features, rows: Rows, target_accuracy: float | None) -> LearningCurve:
    return LearningCurve(rows=len(rows), nouns=features.examples.modality.nouns, scope=scope_of(features),
                         target_accuracy=target_accuracy, target_requested=target_accuracy is not None)


def predicted_curve(features: Features, rows: Rows, measured: Measured, target_accuracy: float | None = None
                    ) -> LearningCurve:
    """The curve of these rows with what was measured and, where that allows it, what is predicted."""
    examples, curve = features.examples, _nothing_yet(features, rows, target_accuracy)
    errors, missed = measured.replicates(REPLICATES, len(examples.classes))
    sizes = measured.sizes
    curve = replace(curve, fits=measured.fits, measured=_accuracies(sizes, errors, measured.clusters))
    if not errors[0, -1]:  # every replicate would predict that there never will be one
        return _without_errors(curve)
    hidden = check(sizes, errors)
    checked = HiddenSize(round(float(sizes[-1])), float(1 - errors[0, -1]), 1 - hidden.predicted,
                         hidden.standard_error)
    curve = replace(curve, hidden=checked)
    if abs(checked.miss) > CERTAIN * checked.standard_error:
        return replace(curve, reason=f"the fit misses the largest size by {100 * checked.miss:+.1f} points, more than "
                                   "chance explains")
    drawn = extrapolate(sizes, errors, hidden.shares, sizes)
    at = np.geomspace(curve.rows, FARTHEST * curve.rows, POINTS)
    at[POINTS // 2] = 2 * curve.rows
    extrapolation = extrapolate(sizes, errors, hidden.shares, at)
    curve = replace(curve, fitted=tuple((1 - drawn.center).tolist()), predicted=_predictions(extrapolation),
                  classes=_classes(examples, rows, sizes, missed, hidden.shares))
    if curve.target_accuracy is not None:
        reached = rows_until(extrapolation, 1 - curve.target_accuracy)
    else:  # of the errors of each replicate, so that the uncertainty of the present accuracy does not count
        curve = replace(curve, target_accuracy=round(1 - FEWER * float(extrapolation.center[0]), 3))
        reached = rows_until(extrapolation, FEWER * extrapolation.replicates[:, 0])
    low, high = (end - curve.rows for end in reached)
    curve = replace(curve, more_rows=(_rounded(low, np.floor), _rounded(high, np.ceil)))
    reason = "" if curve.more_rows == (0, 0) else _flat(sizes, errors, curve.nouns)
    if curve.more_rows == (0, None):
        reason = reason or f"the 80% interval reaches from no more to over {FARTHEST - 1} times as many more"
    return replace(curve, more_rows=None, reason=reason) if reason else curve


def _flat(sizes: NDArray[np.float64], errors: NDArray[np.float64], nouns: str) -> str:
    """Whether the last doubling of rows changed nothing beyond noise, in words; empty where it did."""
    half, fall, (low, high) = last_doubling(sizes, errors)
    if low > 0:
        return ""
    return (f"the curve is flat within noise (from {round(sizes[half]):,} to {round(sizes[-1]):,} {nouns} the accuracy "
            f"changes by {100 * fall:+.1f} points, 80% interval {100 * low:+.1f} to {100 * high:+.1f})")


def _without_errors(curve: LearningCurve) -> LearningCurve:
    """The answer where the largest size made no errors: nothing is extrapolated."""
    size = curve.measured[-1]
    if curve.target_accuracy is not None and curve.target_accuracy <= size.accuracy_ci80[0]:
        return replace(curve, more_rows=(0, 0))
    return replace(curve, reason=f"with {size.rows:,} {curve.nouns} all predictions are correct, so that there are no "
                                 f"errors to extrapolate (accuracy {size.accuracy_ci80[0]:.3f} to 1.000, 80% interval)")


def _accuracies(sizes: NDArray[np.float64], errors: NDArray[np.float64], clusters: int) -> tuple[SizeAccuracy, ...]:
    """clusters: of rows that measure. Where none has an error, no replicate has one, and the interval is the exact one
    of none (Clopper and Pearson)."""
    ends = 1 - np.quantile(errors[1:], INNER, axis=0)
    ends[1] = np.where(errors[0] == 0, INNER[0] ** (1 / clusters), ends[1])
    return tuple(SizeAccuracy(round(size), float(1 - error), (float(low), float(high)))
                 for size, error, high, low in zip(sizes.tolist(), errors[0], *ends, strict=True))


def _predictions(extrapolation: Extrapolation) -> tuple[SizeAccuracy, ...]:
    """At every tenth point, which are 1 to 4 times the rows."""
    predictions = []
    for point in range(0, POINTS, (POINTS - 1) // 8):
        low, high = extrapolation.interval(point)
        error = min(max(float(extrapolation.center[point]), low), high)
        predictions.append(SizeAccuracy(round(float(extrapolation.at[point])), 1 - error, (1 - high, 1 - low)))
    return tuple(predictions)


def _rounded(more: float, how: np.ufunc) -> int | None:
    """To two digits, away from the middle of the interval; None for infinitely many."""
    if not np.isfinite(more):
        return None
    unit = 10 ** max(0, len(str(int(more))) - 2)
    return int(how(round(more / unit, 6))) * unit


def _classes(examples: Examples, rows: Rows, sizes: NDArray[np.float64], missed: NDArray[np.float64],
             shares: Sequence[float]) -> tuple[ClassCurve, ...]:
    """What each class gains with twice the rows, the largest gain first."""
    counts = examples.one_hot(rows).sum(axis=0).astype(int)
    if len(counts) > MOST_CLASSES:
        return ()
    found, at = [], np.array([1.0, 2.0]) * len(rows)
    for number in np.flatnonzero(counts >= FEWEST_LABELS).tolist():
        rates = missed[number]
        rates = np.where(np.isnan(rates), rates[0], rates)  # a replicate without a label of the class
        extrapolation = extrapolate(sizes, rates, tuple(shares), at)
        gain = extrapolation.replicates[:, 0] - extrapolation.replicates[:, 1]
        low, high = extrapolation.quantiles(gain)
        center = min(max(float(extrapolation.center[0] - extrapolation.center[1]), low), high)
        found.append(ClassCurve(examples.classes[number], int(counts[number]), float(1 - rates[0, -1]), center,
                                (low, high)))
    return tuple(sorted(found, key=lambda one: (-one.gain, one.name)))
