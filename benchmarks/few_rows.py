"""Heads trained by gradient descent on few rows, beside `linear`: subsets of the stamps, evaluated on other rows.

Four classes are drawn, and so many rows of each; up to 100 other rows of each class are held out. `block5` is an early
layer, whose features are weak.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Split
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.heads import ROW, resolve_head
from kerastl.model import predict_logits
from kerastl.stats import log_loss
from kerastl.training.fitters import fitter_named
from kerastl.training.options import DEFAULTS

SAMPLES = Path("samples/stamps")
HEADS, LAYERS = ("mlp", "attention", "transformer", "resnet"), ("top", "block5")
PER_CLASS, DRAWS, CLASSES, MOST = (10, 25, 50), 5, 4, 100


def beside_linear() -> list[Figure]:
    """Mean accuracy and log loss over the draws, of each head and of `linear` on the same rows."""
    if not SAMPLES.exists():
        return [Figure("heads on few rows of the stamps", "not measured: run `make quickstart` first")]
    examples = tl.read_images(str(SAMPLES), min_per_class=30)
    figures = []
    for layer in LAYERS:
        backbone = tl.load_backbone("efficientnet_lite0", layer=layer, pooling="none")
        features = tl.compute_features(examples, backbone, tl.apply_runtime("float32", "off"),
                                       cache_dir=tl.cache_dir(None))
        for per_class in PER_CLASS:
            drawn = [_draw(features, per_class, seed) for seed in range(DRAWS)]
            scores = {head: np.mean([_score(some, head) for some in drawn], axis=0) for head in ("linear", *HEADS)}
            accuracy, loss = scores["linear"]
            for head in HEADS:
                figures.append(Figure(
                    f"{layer}, {per_class} images a class, {CLASSES} classes, {DRAWS} draws: `{head}` accuracy "
                    f"{scores[head][0]:.3f}, log loss {scores[head][1]:.3f}; `linear` {accuracy:.3f}, {loss:.3f}",
                    f"{100 * (scores[head][0] - accuracy):+.1f} points", ">= -2", scores[head][0] >= accuracy - 0.02))
    return figures


def _draw(features: Features, per_class: int, seed: int) -> Features:
    """So many training rows of each of 4 classes, and other rows to test on; the fitters see no validation rows."""
    generator, targets = np.random.default_rng(seed), features.examples.targets
    large = np.flatnonzero(np.bincount(targets) >= per_class + 10)
    classes = np.sort(generator.permutation(large)[:CLASSES])
    train, test = list[int](), list[int]()
    for number in classes:
        rows = generator.permutation(np.flatnonzero(targets == number)).tolist()
        train, test = train + rows[:per_class], test + rows[per_class:per_class + MOST]
    rows = np.array(train + test)
    some = features.examples.take(rows)
    part = np.repeat([TRAIN, TEST], [len(train), len(test)]).astype(np.int8)
    assert VALIDATION not in part
    keys = features.keys or features.examples.ids
    return replace(features, keys=[keys[row] for row in rows], examples=replace(
        some, targets=np.searchsorted(classes, some.targets), split=Split("holdout", "a draw", part),
        classes=tuple(features.examples.classes[number] for number in classes)))


def _score(features: Features, name: str) -> tuple[float, float]:
    """Accuracy and log loss on the test rows."""
    head, examples = resolve_head(name), features.examples
    features = means_of(features) if head.spec.takes == ROW else features
    assert examples.split is not None
    train, test = examples.split.rows(TRAIN), examples.split.rows(TEST)
    model = fitter_named(head.spec.fitter).fit_rows(head, features, train, None, DEFAULTS).model
    logits: NDArray[np.float32] = predict_logits(model, features.rows(test), 64)
    return (float((logits.argmax(axis=1) == examples.targets[test]).mean()),
            log_loss(logits, examples.one_hot(test), examples.task))
