"""Few labels: frozen features against tuning by contrast, on the movie snippets of docs/few_labels.md.

The 2,000 rows lowest by hash judge and nothing else; the next 2,000 chose the method; training rows are drawn from the
rest, K of each class.
"""

import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.backbones import weights_hash
from kerastl.data.split import folds
from kerastl.features.compute import compute_features
from kerastl.features.lengths import fit_length
from kerastl.runtime import apply
from kerastl.tasks import task_named
from kerastl.training.fine_tuning import contrastive as contrast
from kerastl.training.fitters.solver import solve

SNIPPETS = Path("samples/snippets.csv")
LABELS, SEEDS, JUDGES = (8, 16, 64), (0, 1, 2), 2000


def table() -> list[Figure]:
    """Accuracy on the judging rows, mean and range over seeds, and the seconds that training took."""
    if not SNIPPETS.exists():
        return [Figure("few labels, movie snippets", "not measured: run `make quickstart` first")]
    examples, held_out, pool = snippets()
    figures = []
    for labels in LABELS:
        found: dict[str, list[float]] = {"frozen": [], "tuned": [], "rule": [], "seconds": []}
        for seed in SEEDS:
            train = drawn(examples.targets[pool], labels, seed, pool)
            for name, value in _one(examples, train, held_out, seed).items():
                found[name].append(value)
        said = {name: f"{np.mean(some):.3f} ({min(some):.3f} to {max(some):.3f})" for name, some in found.items()}
        figures.append(Figure(
            f"{labels} labels per class, MiniLM, {len(SEEDS)} draws, accuracy on {JUDGES} movie snippets: contrastive "
            f"loss {said['tuned']} in {np.mean(found['seconds']):.0f} s; frozen {said['frozen']}; what is kept "
            f"{said['rule']}",
            f"{100 * (np.mean(found['tuned']) - np.mean(found['frozen'])):+.1f} points"))
    return figures


def snippets() -> tuple[tl.Examples, NDArray[np.intp], NDArray[np.intp]]:
    """The movie snippets, their test rows, and the rows to draw training rows from."""
    examples = tl.read_texts(str(SNIPPETS), min_per_class=0)
    order = np.array(sorted(range(len(examples)), key=lambda row: hashlib.blake2b(
        examples.items[row].encode()).hexdigest()))
    return examples, order[:JUDGES], order[2 * JUDGES:]


def drawn(targets: NDArray[np.int64], labels: int, seed: int, pool: NDArray[np.intp]) -> NDArray[np.intp]:
    """So many rows of each class out of the pool."""
    generator = np.random.RandomState(seed)
    chosen = [generator.permutation(np.flatnonzero(targets == c))[:labels] for c in (0, 1)]
    return pool[generator.permutation(np.concatenate(chosen))]


def _one(examples: tl.Examples, train: NDArray[np.intp], held_out: NDArray[np.intp], seed: int) -> dict[str, float]:
    some = examples.take([*train.tolist(), *held_out.tolist()])
    rows, asked = np.arange(len(train)), np.arange(len(train), len(some))
    backbone = fit_length(tl.load_backbone("minilm"), some)
    frozen, _ = judged(backbone, some, rows, asked)
    start = time.perf_counter()
    contrast.tune(backbone, some, rows, seed)
    seconds = time.perf_counter() - start
    tuned, more = judged(backbone, some, rows, asked)
    return {"frozen": frozen, "tuned": tuned, "rule": tuned if _kept(some, rows, seed) else frozen,
            "seconds": seconds + more}


def _kept(some: tl.Examples, rows: NDArray[np.intp], seed: int) -> bool:
    """Whether cross-validation of the training rows keeps the tuned backbone, as a run would."""
    training = tl.split(some.take(rows.tolist()), "cv")
    with tempfile.TemporaryDirectory() as folder:
        features = compute_features(training, fit_length(tl.load_backbone("minilm"), training), apply("float32", "off"),
                                    cache_dir=Path(folder)).with_seed(seed)
        tuning = tl.train(features, unfreeze="contrast").fine_tuning
    assert tuning is not None
    return tuning.kept


def judged(backbone, some: tl.Examples, rows: NDArray[np.intp], asked: NDArray[np.intp]) -> tuple[float, float]:
    """Accuracy on the asked rows of a head solved on the others, and the seconds that its features and it took."""
    now, plain = replace(backbone, weights_hash=weights_hash(backbone.model)), apply("float32", "off")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        training = some.take(rows.tolist())
        x = compute_features(training, now, plain, cache_dir=Path(folder)).rows(rows)
        inner = folds(training, 5)
        head = solve(x, training.one_hot(), np.ones(len(x), np.float32), [inner == fold for fold in range(5)],
                     task=task_named("single_label"))
        seconds = time.perf_counter() - start
        others = some.take(asked.tolist())
        z = compute_features(others, now, plain, cache_dir=Path(folder)).rows(np.arange(len(others)))
    return float(((z @ head.kernel + head.bias).argmax(axis=1) == others.targets).mean()), seconds
