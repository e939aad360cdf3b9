"""How often `kerastl drift` finds a shift, and how often it finds one where there is none, on the samples.

Each draw divides the rows anew, in whole clusters of near-duplicates: a model is trained on some, and its held-out rows
are the reference; new inputs come from the others, which the model has never seen. They are tested as they are (false
alarms) or changed (power). The tests get the sizes of the unchanged image files: how a changed one is compressed would
give it away.
"""

import csv
import inspect
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from threadpoolctl import threadpool_limits

import kerastl as tl
from benchmarks.figure import Figure
from benchmarks.rejection import MODULES, SAMPLES
from kerastl.data.examples import Split
from kerastl.data.images import read_unlabelled as read_unlabelled_images
from kerastl.data.options import ReadOptions
from kerastl.data.texts import read_unlabelled as read_unlabelled_texts
from kerastl.decision import calibrated
from kerastl.evaluation.drift import (
    FEATURES,
    OUTPUTS,
    REJECTED,
    SIZES,
    Compared,
    Promise,
    Sample,
    compare_samples,
    promise_of,
    scale_of,
)
from kerastl.evaluation.reference import Reference, reference_of, sizes_of
from kerastl.model import predict_logits
from kerastl.studies.rejection import detect_unknown
from kerastl.training.train import TrainedModel

SIZES_OF_SAMPLES = (50, 100, 200, 500)
MODELS, DRAWS = 40, 20  # without a shift, and with each
PERMUTATIONS = 499  # the level 0.01, corrected for four tests, is the same as with 1,999
ALPHA, LOOSE = 0.01, 0.05
TEXTS, TOPIC_TEXTS = 2000, 600
TESTS = (OUTPUTS, FEATURES, SIZES, REJECTED)
Array = NDArray[Any]


@dataclass(frozen=True)
class Shift:
    """New inputs that are changed. features: of each row as it looks then, or of other inputs; share: of the inputs
    that are changed; aligned: whether a row of `features` belongs to the row of the data. weight: of the largest class,
    where the mix of the classes is changed instead."""

    kind: str
    strength: str
    features: Array | None = None
    sizes: Array | None = None
    share: float = 1.0
    aligned: bool = True
    weight: float = 1.0


@dataclass(frozen=True)
class Data:
    """A data set, with the features of its rows as the exported model computes them, [n, dim]."""

    name: str
    examples: Any
    backbone: Any
    features: Array
    sizes: Array
    shifts: tuple[Shift, ...]
    rest: dict[int, int]  # the rows of the model, by the number of new inputs


@dataclass(frozen=True)
class Model:
    """A model of some rows, and what it is compared with. fresh: rows that it has never seen."""

    fitted: Any
    calibration: Any
    detector: Any
    reference: Reference
    promise: Promise | None
    fresh: NDArray[np.intp]


@dataclass(frozen=True)
class Power:
    """A shift, or none. found: by the number of new inputs, how many draws there were, and by the names of the tests
    (`all` for the verdict) in how many it was found, at both levels. accuracy: of the predictions."""

    data: str
    kind: str
    strength: str
    found: dict[int, tuple[int, dict[tuple[str, float], int]]]
    accuracy: float | None

    def rate(self, n: int, test: str = "all", alpha: float = ALPHA) -> float | None:
        """The share of the draws in which it was found; None where it could not be drawn."""
        draws, counts = self.found.get(n, (0, {}))
        return counts.get((test, alpha), 0) / draws if draws else None


def measured(samples: Path = SAMPLES, models: int = MODELS, draws: int = DRAWS) -> Iterator[Power]:
    """Both data sets, where the samples are there; for each first what is not shifted."""
    for data in _data(samples):
        with threadpool_limits(1):  # of so small matrices, more threads only wait for each other
            found = power(data, models, draws)
        yield from found


def power(data: Data, models: int, draws: int) -> list[Power]:
    """No shift with each of some models, each shift with the first ones, a draw of each size."""
    tallies = [Tally(shift) for shift in (Shift("none", ""), *data.shifts)]
    for seed in range(models):
        tally(data, seed, tallies if seed < draws else tallies[:1])
    return [each.power(data.name) for each in tallies]


@dataclass
class Tally:
    """What was found so far of a shift, see `Power`."""

    shift: Shift
    found: dict[int, tuple[int, dict[tuple[str, float], int]]] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)

    def power(self, data: str) -> Power:
        """So far."""
        return Power(data, self.shift.kind, self.shift.strength, self.found,
                     float(np.mean(self.accuracies)) if self.accuracies else None)

    def add(self, n: int, compared: Compared) -> None:
        """Count what was found in n inputs."""
        draws, counts = self.found.get(n, (0, {}))
        for alpha in (ALPHA, LOOSE):
            names = [test.name for test in compared.tests if test.p < alpha]
            for name in names + ["all"] * bool(names):
                counts[name, alpha] = counts.get((name, alpha), 0) + 1
        self.found[n] = draws + 1, counts


def tally(data: Data, seed: int, tallies: Sequence[Tally]) -> None:
    """Draw once for each shift; without one as many times as the new inputs suffice for."""
    for rest in sorted(set(data.rest.values())):
        generator = np.random.default_rng([seed, rest])
        model = _model(data, rest, generator)
        for each in tallies:
            for n in [n for n in SIZES_OF_SAMPLES if data.rest[n] == rest]:
                for rows in _drawn(data, model.fresh, n, each.shift, generator):
                    each.add(n, compare_samples(model.reference, _sample(data, model, each.shift, rows, generator),
                                                data.examples.classes, model.promise, PERMUTATIONS,
                                                scale_of("cv", data.examples.task.exclusive)))
            if each.shift.aligned and each.shift.share == 1 and rest == data.rest[200]:
                for rows in _drawn(data, model.fresh, 200, each.shift, generator)[:1]:
                    sample = _sample(data, model, each.shift, rows, generator)
                    right = sample.probabilities.argmax(axis=1) == data.examples.targets[rows]
                    each.accuracies.append(float(right.mean()))


def _model(data: Data, rest: int, generator: np.random.Generator) -> Model:
    """A model of `rest` rows, in whole clusters."""
    clusters = np.asarray(data.examples.clusters)
    order = {name: place for place, name in enumerate(generator.permutation(np.unique(clusters)).tolist())}
    rows = np.argsort([order[name] for name in clusters.tolist()], kind="stable")
    while clusters[rows[rest - 1]] == clusters[rows[rest]]:
        rest += 1
    own = tl.split(data.examples.take(np.sort(rows[:rest])), "cv")
    features = tl.compute_features(own, data.backbone, tl.apply_runtime())
    fitted = tl.fit(features, "linear")
    evaluation = tl.evaluate(features.examples, fitted)
    unknown = detect_unknown(features, TrainedModel(None, fitted, None))
    return Model(fitted, evaluation.calibration, unknown.detector, reference_of(features, evaluation,
                 with_features=True), promise_of(unknown.result), np.sort(rows[rest:]))


def _drawn(data: Data, fresh: NDArray[np.intp], n: int, shift: Shift, generator: np.random.Generator
           ) -> list[NDArray[np.intp]]:
    """n of the fresh rows, with a weight of the largest class; nothing where there are too few of the others. Without a
    shift, several times n, which have no row in common."""
    rows = generator.permutation(fresh)
    if shift.kind == "none":
        return [rows[start:start + n] for start in range(0, len(rows) - n + 1, n)]
    if shift.weight == 1:
        return [rows[:n]] if len(rows) >= n else []
    largest = data.examples.targets[rows] == int(np.argmax(list(data.examples.counts().values())))
    share = shift.weight * largest.mean() / (shift.weight * largest.mean() + 1 - largest.mean())
    few, others = rows[largest][:round(n * share)], rows[~largest]
    return [np.concatenate([few, others[:n - len(few)]])] if len(others) >= n - len(few) else []


def _sample(data: Data, model: Model, shift: Shift, rows: NDArray[np.intp], generator: np.random.Generator) -> Sample:
    x, sizes = data.features[rows].copy(), data.sizes[rows].copy()
    if shift.features is not None:
        changed = generator.permutation(len(rows))[:round(shift.share * len(rows))]
        source = rows[changed] if shift.aligned else generator.permutation(len(shift.features))[:len(changed)]
        x[changed] = shift.features[source]
        sizes[changed] = (data.sizes if shift.sizes is None else shift.sizes)[source]
    logits = predict_logits(model.fitted.head, [x])
    return Sample(x, data.examples.task.probabilities(calibrated(logits.astype(np.float64), model.calibration)), sizes,
                  model.detector.numpy(x, logits).astype(np.float64))


# The data and their shifts


def _data(samples: Path) -> Iterator[Data]:
    if (samples / "stamps").exists():
        stamps = tl.find_near_duplicates(tl.read_images(str(samples / "stamps"), min_per_class=30))
        yield _prepared("stamps", stamps, tl.load_backbone("efficientnet_lite0"), _image_shifts,
                        {50: 352, 100: 352, 200: 352, 500: 200})
    if (samples / "snippets.csv").exists():
        texts = tl.find_near_duplicates(tl.read_texts(str(samples / "snippets.csv"), limit=TEXTS))
        backbone = tl.fit_length(tl.load_backbone("minilm"), texts)
        yield _prepared(f"{TEXTS:,} snippets", texts, backbone, _text_shifts,
                        dict.fromkeys(SIZES_OF_SAMPLES, TEXTS // 2))


def _prepared(name: str, examples: Any, backbone: Any, shifts: Callable[..., Iterator[Shift]], rest: dict[int, int]
              ) -> Data:
    mixes = (Shift("largest class less frequent", f"weight {weight:g}", weight=weight) for weight in (0.5, 0.25, 0.0))
    return Data(name, examples, backbone, _features(examples, backbone), sizes_of(examples.items),
                (*shifts(examples, backbone), *mixes), rest)


def _features(examples: Any, backbone: Any) -> Array:
    """As the exported model computes them, [n, dim]."""
    everything = Split("cv", "", np.zeros(len(examples), np.int8))  # is held out, and so in float32
    features = tl.compute_features(replace(examples, split=everything), backbone, tl.apply_runtime())
    assert len(features.examples) == len(examples), "each input can be decoded"
    return features.held_out_rows(np.arange(len(examples)))


def _image_shifts(examples: Any, backbone: Any) -> Iterator[Shift]:
    changes: list[tuple[str, str, Callable[[Image.Image], Image.Image]]] = [
        ("saved again", "", lambda image: image)]
    for factor in (1.2, 1.5, 2.0):
        changes.append(("brightness", f"x {factor}", lambda image, f=factor: ImageEnhance.Brightness(image).enhance(f)))
    for share in (0.005, 0.01, 0.02):
        changes.append(("blur", f"{100 * share:g}% of the side", lambda image, s=share: image.filter(
            ImageFilter.GaussianBlur(s * max(image.size)))))
    changes += [("without colour", "all", lambda image: ImageOps.grayscale(image).convert("RGB")),
                ("inverted", "all", ImageOps.invert)]
    for kind, strength, change in changes:
        yield Shift(kind, strength, _changed_images(examples.items, backbone, change))
    drawn = _changed_images(examples.items, backbone, _outlines)
    for share in (0.1, 0.3, 1.0):
        yield Shift("outlines only", f"{100 * share:g}% of the inputs", drawn, share=share)


def _changed_images(items: Sequence[str], backbone: Any, change: Callable[[Image.Image], Image.Image]) -> Array:
    """Features of images after a change: on white, as the model sees them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all").mkdir()
        for number, item in enumerate(items):
            image = Image.open(item).convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            change(Image.alpha_composite(white, image).convert("RGB")).save(
                Path(folder) / "all" / f"{number:06d}.png", compress_level=1)  # named so that they are read in order
        return _features(read_unlabelled_images(folder), backbone)


def _outlines(image: Image.Image) -> Image.Image:
    """Dark lines on white."""
    return ImageOps.invert(ImageOps.autocontrast(image.convert("L").filter(ImageFilter.FIND_EDGES))).convert("RGB")


def _text_shifts(examples: Any, backbone: Any) -> Iterator[Shift]:
    texts = [str(text) for text in examples.items]
    for words in (15, 10, 5):
        yield _of_texts("shorter", f"the first {words} words", [" ".join(text.split()[:words]) for text in texts],
                        backbone)
    for share in (0.03, 0.1, 0.3):
        yield _of_texts("mistyped", f"{100 * share:g}% of the letters",
                        [_mistyped(text, share, number) for number, text in enumerate(texts)], backbone)
    other = _of_texts("other topic", "", docstrings(), backbone)
    for share in (0.05, 0.15, 0.5):
        yield replace(other, strength=f"{100 * share:g}% of the inputs", share=share, aligned=False)


def _of_texts(kind: str, strength: str, texts: Sequence[str], backbone: Any) -> Shift:
    """Texts after a change."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text",), *((text,) for text in texts)])
        read = read_unlabelled_texts(str(path), options=ReadOptions(text_column="text"))
    assert [str(text) for text in read.items] == list(texts), "texts are read in order"
    return Shift(kind, strength, _features(read, backbone), sizes_of(texts))


def _mistyped(text: str, share: float, seed: int) -> str:
    generator = np.random.default_rng(seed)
    letters = [*text]
    for place in np.flatnonzero(generator.random(len(letters)) < share):
        if letters[place].isalpha():
            letters[place] = chr(97 + int(generator.integers(26)))
    return "".join(letters)


def docstrings() -> list[str]:
    """First sentences of Python's docstrings, as long as a snippet."""
    names = (*MODULES, "collections", "datetime", "email", "http.client", "logging", "pathlib", "socket", "ssl",
             "subprocess", "tarfile", "threading", "typing", "unittest", "zipfile", "scipy.optimize")
    found: set[str] = set()
    for module in map(import_module, names):
        for name in dir(module):
            words = (inspect.getdoc(getattr(module, name, None)) or "").split()
            if len(words) >= 8:
                found.add(" ".join(words[:20]))
    return sorted(found)[:TOPIC_TEXTS]


# Results

GOAL = 0.9  # of the strong shifts, at 200 inputs
STRONG = {("brightness", "x 2.0"), ("blur", "2% of the side"), ("inverted", "all"),
          ("outlines only", "100% of the inputs"), ("largest class less frequent", "weight 0"),
          ("shorter", "the first 5 words"), ("mistyped", "30% of the letters"), ("other topic", "50% of the inputs")}


def on_the_samples() -> list[Figure]:
    """False alarms against the level, and how often strong shifts are found in 200 inputs."""
    figures = []
    for each in measured():
        if each.kind == "none":
            for n, (draws, counts) in sorted(each.found.items()):
                alarms = counts.get(("all", LOOSE), 0)
                most = LOOSE * draws + 2 * (LOOSE * (1 - LOOSE) * draws) ** 0.5
                figures.append(Figure(f"{each.data}, {n} inputs, false alarms of {draws} at level {LOOSE:g}",
                                      str(alarms), f"<= {most:.0f}", alarms <= most))
        elif (each.kind, each.strength) in STRONG and (rate := each.rate(200)) is not None:
            figures.append(Figure(f"{each.data}, {each.kind}, {each.strength}: found in 200 inputs", f"{rate:.2f}",
                                  f">= {GOAL}", rate >= GOAL))
    return figures


COLUMNS = ("data", "shift", "strength", "accuracy", *(f"{n} inputs" for n in SIZES_OF_SAMPLES),
           "in 200 inputs by: outputs, features, sizes, rejected")


def as_rows(found: Iterable[Power] | None = None) -> Iterator[tuple[object, ...]]:
    """For the table of docs/results.md: the share of the draws with drift at the level 0.01; and of no shift also at
    0.05. found: what was measured, if it was."""
    for each in measured() if found is None else found:
        for alpha in (ALPHA, LOOSE) if each.kind == "none" else (ALPHA,):
            rates = [each.rate(n, alpha=alpha) for n in SIZES_OF_SAMPLES]
            by_test = [each.rate(200, name, alpha) for name in TESTS]
            yield (each.data, "**none**, false alarms" if each.kind == "none" else each.kind,
                   f"level {alpha:g}" if each.kind == "none" else each.strength,
                   "-" if each.accuracy is None else f"{each.accuracy:.3f}", *map(_percent, rates),
                   ", ".join(map(_percent, by_test)))


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.3g}%"
