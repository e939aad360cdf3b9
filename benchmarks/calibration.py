"""Calibration on the samples of `make quickstart`: none, one temperature as in earlier versions, and what is chosen.

Each row is calibrated by what the other folds choose and fit. The subset has 12 rows of one class for each row of every
other, so that classes are weighted in training.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.data.examples import Examples
from kerastl.decision import Predictions, calibrated
from kerastl.evaluation.calibration_error import CalibrationError, calibration_error
from kerastl.stats import log_loss
from kerastl.training.options import TrainingOptions

SAMPLES = Path(__file__).parent.parent / "samples"
RATIO = 12  # rows of the frequent class for each of a rare one
ROWS = 3000  # of the texts


@dataclass(frozen=True)
class Measured:
    """One data set: for each calibration the log loss, the error, and the mean probability of the rare classes. share:
    of their rows; seconds: of an evaluation, by the processor's clock."""

    name: str
    rows: int
    chosen: str
    share: float
    by: dict[str, tuple[float, CalibrationError, float]]
    seconds: float


def data(samples: Path) -> Iterator[tuple[str, Examples, str]]:
    """The data sets that are there: name, examples that were split, backbone."""
    if (samples / "stamps").exists():
        stamps = tl.read_images(str(samples / "stamps"), min_per_class=30)
        yield "stamps", tl.split(stamps), "efficientnet_lite0"
        yield f"stamps, {RATIO}:1, 8 classes", tl.split(unbalanced(stamps, 20)), "efficientnet_lite0"
    if (samples / "snippets.csv").exists():
        snippets = tl.read_texts(str(samples / "snippets.csv"), limit=ROWS)
        yield f"{ROWS:,} snippets", tl.split(snippets), "minilm"
        yield f"snippets, {RATIO}:1", tl.split(unbalanced(snippets, 120)), "minilm"


def unbalanced(examples: Examples, rare: int) -> Examples:
    """So many rows of each class, and 12 times as many of the largest one."""
    frequent = int(np.argmax(list(examples.counts().values())))
    chosen: list[int] = []
    for number in range(len(examples.classes)):
        order = sorted(np.flatnonzero(examples.targets == number).tolist(), key=lambda row: examples.ids[row])
        chosen += order[:RATIO * rare if number == frequent else rare]
    return examples.take(sorted(chosen))


def measured(samples: Path) -> Iterator[Measured]:
    """Each data set with each calibration."""
    for name, examples, backbone in data(samples):
        features = tl.compute_features(examples, tl.load_backbone(backbone), tl.apply_runtime(),
                                       cache_dir=tl.cache_dir(None))
        predictions = tl.fit(features, options=TrainingOptions()).held_out
        start = time.process_time()
        evaluation = tl.evaluate(features.examples, predictions)
        seconds = time.process_time() - start
        logits = predictions.logits.astype(np.float64)
        by = {"none": logits, "temperature": one_temperature(features.examples, predictions),
              "chosen": evaluation.held_out.logits}
        truth = features.examples.one_hot(predictions.rows)
        frequent = int(truth.sum(axis=0).argmax())
        yield Measured(name, len(truth), evaluation.calibration_choice.chosen if evaluation.calibration_choice else "",
                       1 - float(truth[:, frequent].mean()),
                       {name: figures(features.examples, predictions.rows, z, frequent) for name, z in by.items()},
                       seconds)


def one_temperature(examples: Examples, predictions: Predictions) -> NDArray[np.float64]:
    """Logits divided by the temperature of the other folds, as earlier versions did."""
    logits, truth = predictions.logits.astype(np.float64), examples.one_hot(predictions.rows)
    part = examples.split.part[predictions.rows] if examples.split else np.zeros(len(logits))
    scaled = np.empty_like(logits)
    for fold in np.unique(part):
        here = part == fold
        scaled[here] = calibrated(logits[here], examples.task.calibrations["temperature"](logits[~here], truth[~here]))
    return scaled


def figures(examples: Examples, rows: NDArray[np.intp], logits: NDArray[np.float64], frequent: int
            ) -> tuple[float, CalibrationError, float]:
    """Log loss, calibration error, and the mean probability of all classes but the frequent one."""
    truth, p = examples.one_hot(rows), examples.task.probabilities(logits)
    _, cluster = np.unique(np.array([examples.clusters[row] for row in rows.tolist()]), return_inverse=True)
    return (log_loss(logits, truth, examples.task), calibration_error(*examples.task.claims(p, truth), cluster),
            1 - float(p[:, frequent].mean()))


def on_the_samples(samples: Path = SAMPLES) -> list[Figure]:
    """Log loss and ECE of what is chosen over those of one temperature, and what an evaluation costs."""
    rows = list(measured(samples))
    if not rows:
        return [Figure("calibration on the samples", "not measured: run `make quickstart` first")]
    found = []
    for row in rows:
        (before, error, rare), (after, chosen, shares) = row.by["temperature"], row.by["chosen"]
        none = row.by["none"][0]
        found.append(Figure(
            f"{row.name}, {row.rows} rows, {row.chosen}: log loss (none {none:.4f}, one temperature {before:.4f})",
            f"{after:.4f}", "not above none", after <= none + 1e-9))
        found.append(Figure(
            f"{row.name}: ECE (one temperature {error.ece:.3f}; 95% CI of the chosen {chosen.ci95[0]:.3f} to "
            f"{chosen.ci95[1]:.3f})", f"{chosen.ece:.3f}", f"<= {max(0.03, chosen.by_chance[1]):.3f}",
            chosen.ece <= max(0.03, chosen.by_chance[1])))
        found.append(Figure(f"{row.name}: mean probability of all classes but the largest (one temperature "
                            f"{rare:.3f}), their share {row.share:.3f}", f"{shares:.3f}"))
        found.append(Figure(f"{row.name}: an evaluation, processor time", f"{row.seconds:.2f} s"))
    return found


def as_rows(samples: Path = SAMPLES) -> list[list[str]]:
    """The rows of the table in docs/results.md."""
    return [[
        row.name, str(row.rows), name if name != "chosen" else f"chosen: {row.chosen}", f"{loss:.3f}",
        f"{error.ece:.3f} ({error.ci95[0]:.3f} to {error.ci95[1]:.3f})", f"{error.by_chance[1]:.3f}",
        f"{rare:.3f} ({row.share:.3f})"] for row in measured(samples) for name, (loss, error, rare) in row.by.items()]
