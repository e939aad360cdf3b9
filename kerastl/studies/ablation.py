"""Ablation of a blend: the same head on pretrained features only, on raw inputs only, and on both.

The result is only reported; the requested head is exported.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, Split
from kerastl.data.split import split_of
from kerastl.decision import Predictions
from kerastl.errors import KerastlError, OptionError, all_of, at_least, broken
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ConfiguredHead, HeadLike, blend, resolve_head
from kerastl.stats import paired_difference, verdict, verdict_sentence
from kerastl.training.fit import held_out_predictions
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.versions.sections import Ablation, Arm, Contrast

SOLVED = "linear"
FEWEST_SEEDS = 3  # a single run says little about the spread
TRANSFER, SCRATCH, BOTH = "pure transfer", "from scratch", "both"
SETTINGS: dict[str, dict[str, Any]] = {TRANSFER: {"mix": "fixed", "theta": 1.0, "lambda": 0.0},
                                       SCRATCH: {"mix": "fixed", "theta": 0.0, "lambda": 1.0}, BOTH: {}}
PART = {SCRATCH: "pretrained network", TRANSFER: "side network"}  # what `both` has, and this variant lacks
WITHOUT = {SCRATCH: "training from scratch", TRANSFER: "the pretrained features alone"}


def ablate(features: Features, head: HeadLike, *, seeds: int = FEWEST_SEEDS, options: TrainingOptions = DEFAULTS
           ) -> Ablation:
    """Fit a blend head on each part alone and on both, `seeds` times each; the backbone stays frozen.

    With cross-validation each seed holds out one fold, so 3 seeds take 3 fits, not 15. Raises OptionError for a head
    that does not take the raw input, or fewer than 3 seeds.
    """
    start = time.perf_counter()
    configured = resolve_head(head)
    faults: list[KerastlError] = broken(at_least(FEWEST_SEEDS, "seeds"), {"seeds": seeds})
    if configured.spec.fitter != "blend":
        faults.append(OptionError(f"`head` must also take the raw input for an ablation (got {configured.text})", "",
                                  "use blend"))
    if faults:
        raise all_of(faults)
    features = with_raw(features)
    examples, split = features.examples, split_of(features.examples)
    arms, correct = [], {}
    for name, text in arms_of(configured).items():
        correct[name] = _correct_by_seed(features, text, name, seeds, options)
        arms.append(Arm(name, text, tuple(np.nanmean(correct[name], axis=1).tolist())))
    held_out = np.flatnonzero(~np.isnan(correct[BOTH]).all(axis=0))
    groups = examples.clusters_of(held_out)
    contrasts = tuple(contrast(over, correct[BOTH][:, held_out], correct[over][:, held_out], groups)
                      for over in (SCRATCH, TRANSFER))
    return Ablation(_rows(split, seeds), len(held_out), seeds, tuple(arms), contrasts, time.perf_counter() - start)


def arms_of(head: ConfiguredHead) -> dict[str, str]:
    """The variants that are compared, as `resolve_head` reads them, by name. A blend that starts from the solved linear
    head and has no side network is that head, so it is solved and not trained."""
    texts = {name: head.with_settings(settings).text for name, settings in SETTINGS.items()}
    return {**texts, TRANSFER: SOLVED} if blend.starts_solved(head) else texts


def _correct_by_seed(features: Features, head: str, name: str, seeds: int, options: TrainingOptions
                     ) -> NDArray[np.float64]:
    """[seeds, rows] of 1 and 0, NaN where a seed did not hold out the row."""
    split, first = split_of(features.examples), features.runtime.seed
    folds: Sequence[int | None] = split.folds or [None]
    correct = np.full((seeds, len(features.examples)), np.nan)
    for seed in range(seeds):
        if seed and resolve_head(head).spec.convex and split.mode != "cv":
            correct[seed] = correct[0]  # the solution does not depend on the seed
            continue
        own = options.with_cross_entropy() if resolve_head(head).spec.convex else options
        predictions = held_out_predictions(features.with_seed(first + seed), head, folds[seed % len(folds)],
                                           options=own)
        correct[seed, predictions.rows] = _correct(features.examples, predictions)
        print(f"{name}, seed {first + seed}: accuracy {np.nanmean(correct[seed]):.3f} on "
              f"{len(predictions.rows)} rows", flush=True)
    return correct


def _correct(examples: Examples, predictions: Predictions) -> NDArray[np.bool_]:
    """Whether each row is predicted correctly, without calibration."""
    task = examples.task
    half = task.half(len(examples.classes))
    p = task.probabilities(predictions.logits, half)
    return task.correct(task.predict(p, np.array(half.thresholds)), examples.targets[predictions.rows])


def _rows(split: Split, seeds: int) -> str:
    """Which rows were held out, in words."""
    if split.mode != "cv":
        return "the test rows"
    return f"the rows of {min(seeds, len(split.folds))} of {len(split.folds)} folds, one per seed"


def contrast(over: str, both: NDArray[np.float64], alone: NDArray[np.float64], groups: Sequence[str]) -> Contrast:
    """The blend on both parts, compared with one part alone. over: that part, SCRATCH or TRANSFER. both, alone: [seeds,
    rows] of 1 and 0, NaN where a seed did not hold out the row. groups: of the rows."""
    difference = paired_difference(np.nanmean(both, axis=0), np.nanmean(alone, axis=0), groups)
    first = np.argmin(np.isnan(both), axis=0), np.arange(both.shape[1])
    p = paired_difference(both[first], alone[first], groups).p
    return Contrast(BOTH, over, difference.gain, difference.gain_ci95, p,
                    verdict(difference.gain_ci95),
                    _sentence(over, difference.gain, difference.gain_ci95))


def _sentence(over: str, gain: float, gain_ci95: tuple[float, float]) -> str:
    part, without = PART[over], WITHOUT[over]
    return verdict_sentence(
        gain, gain_ci95,
        helped=f"The {part} improves accuracy by {{points}} over {without}.",
        hurt=f"The {part} lowers accuracy by {{points}} compared with {without}" + (
            ": negative transfer." if over == SCRATCH else "."),
        unclear=f"Inconclusive: the {part} changes accuracy by {{points}} compared with {without}. More labelled rows "
                "or more seeds may show a difference.")
