"""Learning curves on the samples: how often their 80% interval holds the accuracy at twice the rows, and what they
cost."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.figure import Figure, at_most
from kerastl.features.compute import Features
from kerastl.studies.learning_curve.measurement import measure
from kerastl.studies.learning_curve.study import predicted_curve
from kerastl.studies.learning_curve.subsets import FOLDS, sizes_of
from kerastl.training.options import DEFAULTS

SAMPLES = Path("samples")
DRAWS = 30
ROWS = {"stamps": 282, "snippets": 1200}  # of a draw: two fifths, so that folds of all rows train on twice as many
ROUNDS = (1, 2)  # as in a recipe's report, and as in `kerastl curve`
TRUTH_FITS = 10
GOAL = 0.7
SECONDS = 3.0
COLUMNS = ("rows of a draw", "rounds", "accuracy at twice the rows", "holds it, all rows",
           "holds it, rows outside the draw", "goal", "mean width, points", "prediction minus measured, points",
           "number of rows not said", "nothing predicted")


@dataclass(frozen=True)
class Draw:
    """One draw. interval: predicted for twice the rows, None where nothing was; center: of it. outside: the accuracy
    measured at twice the rows, on rows that are not in the draw. flat: whether the number of rows could not be said."""

    interval: tuple[float, float] | None
    center: float
    outside: float
    flat: bool

    def holds(self, accuracy: float) -> bool:
        """Whether the interval holds an accuracy."""
        return self.interval is not None and self.interval[0] <= accuracy <= self.interval[1]


def features_of(name: str) -> Features:
    """The cached features of a sample, in folds."""
    if name == "stamps":
        examples, network = tl.read_images(str(SAMPLES / "stamps")), tl.load_backbone("efficientnet_lite0")
    else:
        examples, network = tl.read_texts(str(SAMPLES / "snippets.csv"), limit=3000), tl.load_backbone("minilm")
    examples = tl.split(tl.find_near_duplicates(examples), "cv")
    network = tl.fit_length(network, examples) if name == "snippets" else network
    return tl.compute_features(examples, network, tl.apply_runtime())


def taken(features: Features, rows: NDArray[np.intp]) -> Features:
    """The features of these rows."""
    keys = features.keys or features.examples.ids
    return replace(features, examples=features.examples.take(rows), keys=[keys[row] for row in rows.tolist()])


def draws(features: Features, n: int, correct: NDArray[np.float64]) -> Iterator[list[Draw]]:
    """Each draw by each number of rounds. correct: how often each row was predicted correctly by heads that were
    trained on twice as many rows, [rows]."""
    for seed in range(DRAWS):
        rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:n])
        outside, own, every = float(np.delete(correct, rows).mean()), taken(features, rows), np.arange(n)
        sizes = sizes_of(n, len(features.examples.classes))
        measured = measure(own.with_seed(seed), every, sizes, max(ROUNDS) * FOLDS, DEFAULTS)
        yield [_draw(predicted_curve(own, every, measured.first(rounds)), outside) for rounds in ROUNDS]


def _draw(curve: tl.LearningCurve, outside: float) -> Draw:
    twice = curve.at(2)
    if twice is None:
        return Draw(None, float("nan"), outside, False)
    return Draw(twice.accuracy_ci80, twice.accuracy, outside, curve.more_rows is None)


def as_rows(name: str) -> Iterator[tuple[str, ...]]:
    """The table of a sample, a row for each number of rounds."""
    features, n = features_of(name), ROWS[name]
    twice = measure(features, np.arange(len(features)), [2 * n], TRUTH_FITS, DEFAULTS).correct[0].mean(axis=0)
    accuracy = float(twice.mean())
    for rounds, found in zip(ROUNDS, zip(*draws(features, n, twice), strict=True), strict=True):
        said = [draw for draw in found if draw.interval]
        held = [draw.holds(accuracy) for draw in said]
        widths = [draw.interval[1] - draw.interval[0] for draw in said if draw.interval]
        error = np.array([draw.center - accuracy for draw in said])
        yield (f"{n:,} of {len(features):,}", str(rounds), f"{accuracy:.3f}",
               f"{sum(held)} of {len(said)} ({np.mean(held):.0%})",
               f"{sum(draw.holds(draw.outside) for draw in said)} of {len(said)}",
               f">= {GOAL:.0%}: {'met' if np.mean(held) >= GOAL else 'missed'}",
               f"{100 * np.mean(widths):.1f}", f"{100 * error.mean():+.1f} (SD {100 * error.std():.1f})",
               str(sum(draw.flat for draw in said)), str(len(found) - len(said)))


def on_the_samples() -> list[Figure]:
    """What a curve costs in a recipe's run: processor seconds, the least of three rounds."""
    figures = []
    for name in ROWS:
        features, seconds = features_of(name), []
        for _ in range(3):
            start = time.process_time()
            tl.learning_curve(features, repeats=1)
            seconds.append(time.process_time() - start)
        figures.append(at_most(f"learning curve of {len(features):,} {name}, one round: processor seconds",
                               min(seconds), SECONDS))
    return figures
