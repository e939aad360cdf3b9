"""How well inputs of no known class are recognised, on the samples of `make quickstart`.

Unrelated images: the photographs that scikit-learn carries, those of scikit-image where it is installed, and noise.
Unrelated texts: paragraphs of licences, Python's docstrings, and sentences of the package turkish-treebanks where it is
installed. Rows of the data are scored by what was fitted without their fold; no unrelated input chooses anything.
"""

import importlib.metadata
import importlib.util
import inspect
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.data.split import split_of
from kerastl.evaluation.ranking import roc_auc
from kerastl.evaluation.rejection import RejectionResult, principal_axes
from kerastl.features.compute import Features
from kerastl.model import Predictor
from kerastl.studies.left_out import score_rows
from kerastl.studies.rejection import detect_unknown, members_of

SAMPLES = Path(__file__).parent.parent / "samples"
ROWS, TEXTS, NOISE, SIDE = 3000, 300, 20, 224
LICENCES = Path("/usr/share/common-licenses")
MODULES = ("asyncio", "csv", "json", "math", "os", "random", "re", "numpy", "scipy.stats", "sklearn.linear_model")


@dataclass(frozen=True)
class Measured:
    """One data set. far: by kind of unrelated input, their number and the AUROC of each score; rejected: the fraction
    of each kind above the threshold of the exported detector. seconds: of `detect_unknown`, by the processor's
    clock."""

    name: str
    result: RejectionResult
    far: dict[str, tuple[int, dict[str, float]]]
    rejected: dict[str, float]
    seconds: float


def photographs() -> Iterator[Image.Image]:
    """Those that packages carry, at least 64 pixels on each side."""
    for package, folder in (("sklearn", "datasets/images"), ("skimage", "data")):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(place, folder).glob("*.*")):
                if path.suffix in (".png", ".jpg"):
                    image = Image.open(path).convert("RGB")
                    if min(image.size) >= 64:
                        yield image


def noise() -> Iterator[Image.Image]:
    """Half of it pixel by pixel, half in squares."""
    generator = np.random.default_rng(0)
    for number in range(NOISE):
        step = 1 if number < NOISE // 2 else 16
        small = generator.integers(0, 256, (SIDE // step, SIDE // step, 3), dtype=np.uint8)
        yield Image.fromarray(np.kron(small, np.ones((step, step, 1), np.uint8)))


def texts() -> dict[str, list[str]]:
    """Unrelated texts by kind, at most 300 each."""
    docstrings = [inspect.getdoc(getattr(module, name, None)) or "" for module in map(importlib.import_module, MODULES)
                  for name in dir(module)]
    licences = [part for path in sorted(LICENCES.glob("*")) for part in path.read_text(errors="replace").split("\n\n")]
    found = {"Python docstrings": docstrings, "licences": licences, "Turkish sentences": list(_turkish())}
    short = {kind: sorted({" ".join(text.split())[:300] for text in some}) for kind, some in found.items()}
    return {kind: [text for text in some if len(text) > 40][:TEXTS] for kind, some in short.items() if some}


def _turkish() -> Iterator[str]:
    try:
        files = importlib.metadata.files("turkish-treebanks") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name.endswith(".conllu"):
            lines = Path(str(file.locate())).read_text(encoding="utf-8").splitlines()
            yield from (line.partition("=")[2].strip() for line in lines if line.startswith("# text ="))


def measured(samples: Path = SAMPLES) -> Iterator[Measured]:
    """Both data sets, where the samples are there."""
    if (samples / "stamps").exists():
        stamps = tl.read_images(str(samples / "stamps"), min_per_class=30)
        with tempfile.TemporaryDirectory() as folder:
            kinds = {kind: _saved(Path(folder), kind, images)
                     for kind, images in (("photographs", photographs()), ("noise", noise()))}
            kinds["photographs and noise"] = kinds["photographs"] + kinds["noise"]
            yield _measure("stamps", stamps, tl.load_backbone("efficientnet_lite0"), kinds)
    if (samples / "snippets.csv").exists():
        snippets = tl.read_texts(str(samples / "snippets.csv"), limit=ROWS)
        yield _measure(f"{ROWS:,} snippets", snippets, tl.fit_length(tl.load_backbone("minilm"), snippets), texts())


def _saved(folder: Path, kind: str, images: Iterator[Image.Image]) -> list[str]:
    paths = []
    for number, image in enumerate(images):
        paths.append(str(folder / f"{kind}{number}.png"))
        image.save(paths[-1])
    return paths


def _measure(name: str, examples: Any, backbone: Any, kinds: dict[str, Sequence[str]]) -> Measured:
    split = tl.split(tl.find_near_duplicates(examples))
    features = tl.compute_features(split, backbone, tl.apply_runtime())
    trained = tl.train(features, "linear")
    start = time.process_time()
    found = detect_unknown(features, trained)
    seconds = time.process_time() - start
    predictor = Predictor(trained.model)
    rows = {kind: np.concatenate([predictor.features(batch) for batch in backbone.input.batches(items, 32, {})])
            for kind, items in kinds.items()}
    logits = {kind: np.asarray(trained.fitted.head(some)) for kind, some in rows.items()}
    rejected = {kind: float((found.detector.numpy(some, logits[kind]) > 0).mean()) for kind, some in rows.items()}
    return Measured(name, found.result, {kind: (len(some), _far(features, some)) for kind, some in rows.items()},
                    rejected, seconds)


def _far(features: Features, unrelated: NDArray[np.float32]) -> dict[str, float]:
    """The AUROC of each score against the rows of the data, the mean over the folds."""
    examples, part = features.examples, split_of(features.examples).part
    aurocs: dict[str, list[float]] = {}
    for fold in split_of(examples).folds:
        fitted, own = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        axes = principal_axes(features.rows(fitted), members_of(features, fitted))
        both = np.concatenate([features.held_out_rows(own), unrelated])
        for name, scores in score_rows(axes, examples.one_hot(fitted) > 0, both, examples.task.exclusive).items():
            auroc = roc_auc(scores, np.arange(len(both)) >= len(own), np.arange(len(both)))
            aurocs.setdefault(name, []).append(auroc.value if auroc else float("nan"))
    return {name: float(np.mean(values)) for name, values in aurocs.items()}


GOALS = {"photographs and noise": 0.95, "Python docstrings": 0.90, "licences": 0.90, "Turkish sentences": 0.90}


def on_the_samples() -> list[Figure]:
    """AUROCs and rejected rows against their goals, and the time that a run spends on it."""
    figures = []
    for each in measured():
        result = each.result
        for kind, (n, aurocs) in each.far.items():
            figures.append(Figure(f"{each.name} against {n} {kind}, AUROC of {result.score}",
                                  f"{aurocs[result.score]:.3f}", f">= {GOALS[kind]}" if kind in GOALS else "",
                                  aurocs[result.score] >= GOALS[kind] if kind in GOALS else None))
        if result.auroc is not None:
            goal = len(result.classes) > 2  # of two classes, one that is left out resembles the other
            figures.append(Figure(f"{each.name}, a class left out, mean AUROC", f"{result.auroc:.3f}",
                                  ">= 0.8" * goal, result.auroc >= 0.8 if goal else None))
        if result.rejected is not None and result.rejected_ci95 is not None:
            low, high = result.rejected_ci95
            figures.append(Figure(f"{each.name}, own rows rejected at 5% (95% CI {low:.3f} to {high:.3f})",
                                  f"{result.rejected:.3f}", "0.05 within the interval", low <= 0.05 <= high))
        figures.append(Figure(f"{each.name}, processor time", f"{each.seconds:.1f} s", "<= 3 s", each.seconds <= 3))
    return figures


def as_rows() -> Iterator[tuple[object, ...]]:
    """For the table of docs/results.md: data, score, left-out classes, unrelated inputs by kind, share rejected."""
    for each in measured():
        compared = {trial.name: f"{trial.auroc:.3f}" for trial in each.result.trials}
        for name in next(iter(each.far.values()))[1]:
            chosen = name == each.result.score
            left_out = compared.get(name, f"{each.result.auroc:.3f}" if chosen and each.result.auroc else "-")
            far = ", ".join(f"{kind} ({n}) {aurocs[name]:.3f}" for kind, (n, aurocs) in each.far.items())
            shares = ", ".join(f"{kind} {100 * share:.0f}%" for kind, share in each.rejected.items()) if chosen else ""
            yield each.name, f"**{name}**" if chosen else name, left_out, far, shares
