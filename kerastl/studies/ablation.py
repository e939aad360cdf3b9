"""What each part of a blend is worth: the same head with the pretrained features alone, the raw input alone, and both.

The rows that judge choose nothing here: the ablation is reported, and the head that was asked for ships.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl import stats
from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.errors import OptionError
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ConfiguredHead, HeadLike, blend, resolve_head
from kerastl.runtime import Runtime
from kerastl.stats import paired_difference
from kerastl.training.fit import held_out_predictions
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.versions.sections import Ablation, Arm, Contrast

SOLVED = "linear"
TRANSFER, SCRATCH, BOTH = "pure transfer", "from scratch", "both"
ARMS: dict[str, dict[str, Any]] = {TRANSFER: {"mix": "fixed", "theta": 1.0, "lambda": 0.0},
                                   SCRATCH: {"mix": "fixed", "theta": 0.0, "lambda": 1.0}, BOTH: {}}
CONTRASTS = ((BOTH, SCRATCH, "pretrained network"), (BOTH, TRANSFER, "side network"))


def ablate(backbone: Backbone, features: Features, head: HeadLike, *, seeds: int = 3,
           options: TrainingOptions = DEFAULTS, runtime: Runtime, cache_dir: Path) -> Ablation:
    """Fit a blend head with each part alone and with both, `seeds` times each.

    Of cross-validated rows each seed is judged on a fold of its own, so that 3 seeds take 3 fits and not 15. The
    backbone stays frozen. Raises OptionError for a head that does not mix, or fewer than 3 seeds.
    """
    start = time.perf_counter()
    asked = resolve_head(head)
    if asked.spec.fitter != "blend":
        raise OptionError(f"an ablation of the head {head}", "one that mixes in the raw input: blend", "choose that")
    if seeds < 3:
        raise OptionError(f"--seeds {seeds}", "3 or more: one draw tells little", "raise it")
    features = with_raw(features, backbone, cache_dir=cache_dir)
    split = features.examples.split
    assert split is not None, "split the examples first"
    folds = split.folds if split.mode == "cv" else [0]
    arms, right = [], {}
    for name, spoken in arms_of(asked).items():
        right[name] = np.full((seeds, len(features.examples)), np.nan)
        for i, row in enumerate(right[name]):
            if i and resolve_head(spoken).spec.convex and split.mode != "cv":
                row[:] = right[name][0]  # solved: the same for every seed
                continue
            answers = held_out_predictions(features, spoken, folds[i % len(folds)], options=options,
                                           runtime=replace(runtime, seed=runtime.seed + i))
            row[answers.rows] = _hits(features.examples, answers)
            print(f"{name}, seed {runtime.seed + i}: {np.nanmean(row):.3f} of {len(answers.rows)} rows", flush=True)
        arms.append(Arm(name, spoken, tuple(np.nanmean(right[name], axis=1).tolist())))
    rows = f"the rows of {min(seeds, len(folds))} of {len(folds)} folds, one a seed" if split.mode == "cv" else \
        "the test rows"
    judged = ~np.isnan(right[BOTH]).all(axis=0)
    groups = [features.examples.groups[row] for row in np.flatnonzero(judged)]
    found = tuple(contrast(name, over, part, right[name][:, judged], right[over][:, judged], groups)
                  for name, over, part in CONTRASTS)
    return Ablation(rows, int(judged.sum()), seeds, tuple(arms), found, time.perf_counter() - start)


def arms_of(head: ConfiguredHead) -> dict[str, str]:
    """The heads that are compared, as `resolve_head` reads them, by name. A blend that starts from the solved linear
    head and has no side network is that head, so it is solved and not trained."""
    found = {name: head.with_settings(fixed).text for name, fixed in ARMS.items()}
    return {**found, TRANSFER: SOLVED} if blend.starts_solved(head) else found


def _hits(examples: Examples, answers: Predictions) -> NDArray[np.bool_]:
    """Whether each row is answered rightly; of several labels, all of them, at a half."""
    truth = examples.targets[answers.rows]
    if examples.multi_label:
        return np.asarray(((answers.logits > 0) == truth).all(axis=1))
    return np.asarray(answers.logits.argmax(axis=1) == truth)


def contrast(what: str, over: str, part: str, right: NDArray[np.float64], other: NDArray[np.float64],
             groups: Sequence[str]) -> Contrast:
    """Compare two arms. right, other: [seeds, rows] of 1 and 0, NaN where a row was not held out for a seed. part: what
    the gain is due to, in words. groups: of the rows."""
    averaged = paired_difference(np.nanmean(right, axis=0), np.nanmean(other, axis=0), groups)
    gain, (low, high), verdict = averaged.gain, averaged.gain_ci95, stats.verdict(averaged.gain_ci95)
    first = np.argmin(np.isnan(right), axis=0), np.arange(right.shape[1])
    p = paired_difference(right[first], other[first], groups).p
    by = f"{100 * gain:+.1f} points over {over}, 95% {100 * low:+.1f} to {100 * high:+.1f}"
    said = {"helped": f"The {part} helped ({by}).", "unclear": f"Whether the {part} helped cannot be told ({by}).",
            "hurt": f"The {part} did NOT help: without it the accuracy is better"
                    + (", which is negative transfer" if over == SCRATCH else "") + f" ({by})."}[verdict]
    return Contrast(what, over, gain, (low, high), p, verdict, said)
