"""The `best` head against `linear`, `blend` and `plain`, on the same rows: where transfer helps, and where it does not.

Besides the samples of the quickstart there are three sets on which plain features should win: snippets cut to their
rare words, texts whose telling word comes after those that the backbone takes, and images that differ in colour only.
"""

import csv
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.stats import standard_error
from kerastl.training.fit import fit
from kerastl.training.options import TrainingOptions

STAMPS, SNIPPETS = Path("samples/stamps"), Path("samples/snippets.csv")
ROWS = 3000
RARE = (2, 60)  # texts in which a rare word occurs
TOPICS = ("harbour", "meadow", "granite")
TINTS = ((1.0, 0.9, 0.9), (0.9, 1.0, 0.9), (0.9, 0.9, 1.0))
HEADS = ("linear", "plain", "joint", "blend")


@dataclass(frozen=True)
class Result:
    """A head on a set. correct: each held-out row; seconds: of fitting it in all folds; name: of what ships."""

    correct: NDArray[np.bool_]
    seconds: float
    name: str

    @property
    def accuracy(self) -> float:
        """Over all rows."""
        return float(self.correct.mean())


def rare_words(folder: Path) -> Path:
    """The snippets without the words that are in more than 60 of them, or in one."""
    texts, labels = _snippets()
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    frequency = Counter(word for row in words for word in set(row))
    rows = [(" ".join(word for word in row if RARE[0] <= frequency[word] <= RARE[1]), label)
            for row, label in zip(words, labels, strict=True)]
    return _table(folder / "rare.csv", [row for row in rows if row[0]])


def late_words(folder: Path, n: int = 600) -> Path:
    """Texts of 100 words, drawn from 200, and then one that tells the topic."""
    generator = np.random.default_rng(0)
    words = sorted({word for text in _snippets()[0][:500] for word in re.findall(r"[a-z]+", text.lower())})[::10][:200]
    return _table(folder / "late.csv", [(f"{' '.join(generator.choice(words, 100))} {TOPICS[i % 3]}", TOPICS[i % 3])
                                        for i in range(n)])


def tinted(folder: Path, n: int = 450) -> Path:
    """Stamps, their labels forgotten, each tinted in one of three colours, which is its class."""
    for i, path in enumerate(sorted(STAMPS.rglob("*.png"))[:n]):
        pixels = tf.io.decode_png(path.read_bytes(), channels=3).numpy() * np.array(TINTS[i % 3])
        target = folder / "tinted" / f"tint {i % 3}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tf.io.encode_png(pixels.astype(np.uint8)).numpy())
    return folder / "tinted"


def features_of(source: Path) -> Features:
    """Features with raw inputs, cross-validated."""
    if source.is_dir():
        examples = tl.split(tl.read_images(str(source)), "cv")
        network = tl.load_backbone("efficientnet_lite0")
    else:
        examples = tl.split(tl.read_texts(str(source), limit=ROWS), "cv")
        network = tl.fit_length(tl.load_backbone("minilm"), examples, None if "late" not in source.name else 64)
    return tl.compute_features(examples, network, tl.apply_runtime())


def results(features: Features, heads: tuple[str, ...] = HEADS) -> dict[str, Result]:
    """`best`, free to ship the simple model and not, and each head by itself."""
    everything, truncated = with_raw(features, all_tokens=True), with_raw(features)
    made = {}
    for label, head, options in [("best", "best", TrainingOptions()),
                                 ("best, allow_baseline", "best", TrainingOptions(allow_baseline=True)),
                                 *((head, head, TrainingOptions()) for head in heads)]:
        rows = truncated if head == "blend" else everything
        start = time.perf_counter()
        fitted = fit(rows, head, options=options)
        seconds = time.perf_counter() - start
        correct = np.array(tl.evaluate(features.examples, fitted.held_out).correct)
        made[label] = Result(correct, seconds, fitted.name)
    return made


def sets(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each set with its source; those of the quickstart where they are."""
    yield "stamps", STAMPS
    yield "snippets", SNIPPETS
    yield "rare words", rare_words(folder)
    yield "a late word", late_words(folder)
    yield "tinted stamps", tinted(folder)


def measured(heads: tuple[str, ...] = HEADS) -> Iterator[tuple[str, Features, dict[str, Result]]]:
    """Each set with its results."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sets(Path(folder)):
            features = features_of(source)
            yield name, features, results(features, heads)


def over_each() -> list[Figure]:
    """By how much `best` is above the best of the others, in points and in standard errors of the difference."""
    if not (STAMPS.exists() and SNIPPETS.exists()):
        return [Figure("`best` against `linear`, `blend` and `plain`", "not measured: run `make quickstart` first")]
    figures = []
    for name, features, made in measured():
        groups = list(features.examples.clusters)
        best = made["best"]
        for other in ("linear", "blend", "plain"):
            difference = best.correct.astype(float) - made[other].correct
            gain, error = float(difference.mean()), standard_error(difference, groups)
            figures.append(Figure(
                f"{name}: accuracy of `best` ({best.accuracy:.3f}, ships `{best.name}`, {best.seconds:.1f} s) minus "
                f"`{other}` ({made[other].accuracy:.3f}, {made[other].seconds:.1f} s)",
                f"{100 * gain:+.1f} points (standard error {100 * error:.1f})", ">= -1 standard error", gain >= -error))
    return figures


def table(line: Callable[[tuple[str, ...]], object] = print) -> None:
    """Accuracies as rows: set, ships, and each head."""
    for name, _, made in measured():
        line((name, made["best, allow_baseline"].name, *(f"{label} {result.accuracy:.3f} ({result.seconds:.1f} s)"
                                                         for label, result in made.items())))


def _snippets() -> tuple[list[str], list[str]]:
    with SNIPPETS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def _table(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


if __name__ == "__main__":
    table(lambda row: print(*row, sep=" | ", flush=True))
