"""Seconds of work on cached features: the `linear` head and the baseline, against scikit-learn on the same rows."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.special
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kerastl as tl
from benchmarks.figure import Figure, at_least
from kerastl.data.examples import Examples, Split
from kerastl.data.split import folds
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.inputs.batches import content_hash
from kerastl.modality import IMAGE
from kerastl.tasks import task_named
from kerastl.training.fitters.solver import solve
from kerastl.training.scaling import scale_of

SAMPLES = Path("samples/stamps")
REPEATS, FOLDS = 5, 5
STRENGTHS, INNER, PROCESSES = 4, 3, 2  # of scikit-learn's side on synthetic rows; ours has ten, and five inner folds
OLD = 107  # seconds that the previous solver took for such rows, on 2 cores of a Xeon with AMX

Array = NDArray[np.float32]


def linear() -> list[Figure]:
    """The rows of the table."""
    return [*synthetic(), many_rows()]


def rows_like_features(n: int, dim: int, classes: int, apart: float = 0.6, seed: int = 0
                       ) -> tuple[Array, NDArray[np.int64]]:
    """Rows [n, dim] and labels [n]: like pooled features, above 0, of uneven scale, and of a spectrum that falls."""
    generator = np.random.default_rng(seed)
    falls = np.arange(1, min(dim, 400) + 1) ** -0.6
    labels = generator.integers(0, classes, n)
    centres = generator.normal(size=(classes, len(falls))) * apart * falls**0.5
    latent = (generator.normal(size=(n, len(falls))) + centres[labels]) * falls
    mixed = latent @ generator.normal(size=(len(falls), dim)) / np.sqrt((falls**2).sum())
    noisy = mixed + 0.3 * generator.standard_normal(size=(n, dim))
    return np.maximum(noisy - 0.3, 0).astype(np.float32) * np.exp(0.5 * generator.normal(size=dim)).astype(
        np.float32), labels


def features_of(folder: Path, x: Array, labels: NDArray[np.int64]) -> Features:
    """Cached features of made-up examples, in five folds."""
    ids = tuple(content_hash(str(row).encode()) for row in range(len(x)))
    classes = tuple(f"class {number}" for number in range(labels.max() + 1))
    nothing = ("",) * len(x)
    examples = Examples(IMAGE, "synthetic", nothing, ids, ids, ids, nothing, classes, labels)
    examples = replace(examples, split=Split("cv", "synthetic", folds(examples, FOLDS)))
    space = Space(folder, SpaceKey("synthetic", "-", "-", "top", "mean", "float32", (x.shape[1],)))
    space.append(ids, x)
    return Features(examples, tl.load_backbone("efficientnet_lite0"), tl.apply_runtime(), folder, (x.shape[1],),
                    "float32", "synthetic", 0, 0.0, space, space)


def scikit_learn(x: Array, labels: NDArray[np.int64], part: NDArray[np.int8]) -> NDArray[np.float64]:
    """Logits of each row by a model that has not seen its fold; the model of all rows is fitted as well."""
    logits = np.zeros((len(x), labels.max() + 1))
    for fold in (*range(FOLDS), FOLDS):
        train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        model = make_pipeline(StandardScaler(), LogisticRegressionCV(
            Cs=STRENGTHS, cv=INNER, n_jobs=PROCESSES, scoring="neg_log_loss", max_iter=300, l1_ratios=(0,),
            use_legacy_attributes=False)).fit(x[train], labels[train])
        if len(test):
            logits[test] = model.decision_function(x[test])
    return logits


def synthetic() -> list[Figure]:
    """1,900 x 2,048 x 9, five folds and the head that ships: twice each, in turn; the lesser seconds."""
    x, labels = rows_like_features(1900, 2048, 9)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        features = features_of(Path(folder), x, labels)
        split = features.examples.split
        assert split is not None
        for _ in range(2):
            start = time.perf_counter()
            fitted = tl.fit(features)
            seconds["ours"].append(time.perf_counter() - start)
            start = time.perf_counter()
            theirs = scikit_learn(x, labels, split.part)
            seconds["theirs"].append(time.perf_counter() - start)
    ours, other = min(seconds["ours"]), min(seconds["theirs"])
    accuracy = [100 * float((logits.argmax(axis=1) == labels).mean()) for logits in (fitted.held_out.logits, theirs)]
    what = f"`linear`, 1,900 x 2,048 x 9, {FOLDS} folds"
    return [at_least(f"{what}: scikit-learn's LogisticRegressionCV ({STRENGTHS} strengths, {INNER} inner folds, "
                     f"{PROCESSES} processes; {other:.1f} s, accuracy {accuracy[1]:.1f}%) over ours (10 strengths, "
                     f"5 inner folds; {ours:.1f} s, {accuracy[0]:.1f}%)", other / ours, 3),
            Figure(f"{what}: seconds (the previous solver: {OLD} s)", f"{ours:.1f} s", "<= 10", ours <= 10)]


def many_rows() -> Figure:
    """50,000 x 1,280 x 100 with 5,000 validation rows: seconds, and the gradient at the solution in float64."""
    x, labels = rows_like_features(55_000, 1280, 100, apart=1.0)
    y = np.eye(100, dtype=np.float32)[labels]
    x, other, y, of_other = x[:50_000], x[50_000:], y[:50_000], y[50_000:]
    start = time.perf_counter()
    found = solve(x, y, np.ones(len(x), np.float32), [], task=task_named("single_label"), validation=(other, of_other))
    seconds = time.perf_counter() - start
    mean, scale = x.mean(axis=0, dtype=np.float64), scale_of(x.var(axis=0)).astype(np.float64)

    def largest_gradient(kernel: NDArray[np.float64]) -> float:
        total = found.l2 * kernel * scale[:, None]
        for i in range(0, len(x), 5000):
            rows = x[i:i + 5000].astype(np.float64)
            error = scipy.special.softmax(rows @ kernel + found.bias * bool(kernel.any()), axis=1) - y[i:i + 5000]
            total += ((rows - mean) / scale).T @ error / len(x)
        return float(np.abs(total).max())

    kernel = found.kernel.astype(np.float64)
    share = largest_gradient(kernel) / largest_gradient(np.zeros_like(kernel))
    return Figure(f"`linear`, 50,000 x 1,280 x 100, {len(found.path)} strengths, chosen on 5,000 other rows (the "
                  f"largest gradient at the solution is {share:.0e} of that at the start)", f"{seconds:.1f} s")


def stamps() -> list[Figure]:
    """Mean accuracy and seconds over 5 x 5 folds of the stamps, each side choosing its strength inside the fold; and
    the baseline without transfer."""
    if not SAMPLES.exists():
        return [Figure("`linear` against scikit-learn on the stamps", "not measured: run `make quickstart` first")]
    examples = tl.split(tl.read_images(str(SAMPLES), min_per_class=30))
    features = tl.compute_features(examples, tl.load_backbone("efficientnet_lite0"), tl.apply_runtime(),
                                   cache_dir=tl.cache_dir(None))
    x, targets, one_hot = features.rows(np.arange(len(examples))), examples.targets, examples.one_hot()
    right, seconds = {"ours": 0, "theirs": 0}, {"ours": 0.0, "theirs": 0.0}
    for repeat in range(REPEATS):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(x, targets):
            inner = StratifiedKFold(5, shuffle=True, random_state=0).split(x[train], targets[train])
            masks = [np.isin(np.arange(len(train)), held_out) for _, held_out in inner]
            start = time.perf_counter()
            found = solve(x[train], one_hot[train], np.ones(len(train), np.float32), masks,
                          task=task_named("single_label"))
            seconds["ours"] += time.perf_counter() - start
            right["ours"] += int(((x[test] @ found.kernel + found.bias).argmax(axis=1) == targets[test]).sum())
            start = time.perf_counter()
            model = make_pipeline(StandardScaler(), LogisticRegressionCV(
                Cs=np.logspace(-5, 0, 8), cv=5, scoring="neg_log_loss", max_iter=300, l1_ratios=(0,),
                use_legacy_attributes=False))
            model.fit(x[train], targets[train])
            seconds["theirs"] += time.perf_counter() - start
            right["theirs"] += int((model.predict(x[test]) == targets[test]).sum())
    n = REPEATS * len(x)
    ours, theirs = (100 * right[side] / n for side in ("ours", "theirs"))
    baseline = tl.baseline(features.examples, tl.evaluate(features.examples, tl.fit(features).held_out))
    return [Figure(f"accuracy of `linear` on {len(x)} stamps minus that of scikit-learn's LogisticRegressionCV, "
                   f"{REPEATS} x {FOLDS} folds ({ours:.2f}% minus {theirs:.2f}%; "
                   f"{seconds['ours'] / REPEATS / FOLDS:.1f} s over "
                   f"{seconds['theirs'] / REPEATS / FOLDS:.1f} s per fit)", f"{ours - theirs:+.2f} points", ">= -0.5",
                   ours - theirs >= -0.5),
            Figure(f"the baseline without transfer on {len(x)} stamps, decoding included (accuracy "
                   f"{baseline.accuracy:.3f})", f"{baseline.seconds:.1f} s")]
