"""Flipped labels are searched for: how many of them are found, against ranking by loss alone and against cleanlab.

5, 10 and 20% of the labels of the stamps and of 3,000 movie snippets are flipped, to any other class or along the
confusion matrix. KERASTL_CLEANLAB is the Python of an environment with cleanlab 2.9; without it, its columns are empty.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.decision import Predictions
from kerastl.evaluation.label_errors import LIKELY, LabelErrors, label_errors
from kerastl.features.compute import Features
from kerastl.training.fit import fit
from kerastl.training.options import TrainingOptions

CLEANLAB = "KERASTL_CLEANLAB"
SAMPLES = Path("samples")
RATES, KINDS, SEEDS = (0.05, 0.1, 0.2), ("uniform", "confusion"), 3
K = 20  # of precision at k, beside k = the number of flipped labels

Array = NDArray[Any]


@dataclass(frozen=True)
class Found:
    """How well flipped labels are found, in [0, 1]. ap: average precision of the ranking of all rows; at_20,
    at_flipped: precision at 20 and at the number of flipped labels, for our ranking; loss_*: for the uncalibrated loss.
    precision, recall: of the listed rows; likely: precision of those called likely; listed: rows over flipped labels;
    cleanlab_*: for cleanlab's `find_label_issues`, on the same probabilities."""

    ap: float
    at_20: float
    at_flipped: float
    loss_ap: float
    loss_at_20: float
    loss_at_flipped: float
    listed: float
    precision: float
    recall: float
    likely: float
    likely_recall: float
    cleanlab_ap: float
    cleanlab_listed: float
    cleanlab_precision: float
    cleanlab_recall: float


def features_of(name: str) -> Features:
    """The cached features of a sample, in folds."""
    if name == "stamps":
        examples, backbone = tl.read_images(str(SAMPLES / "stamps"), min_per_class=30), "efficientnet_lite0"
    else:
        examples, backbone = tl.read_texts(str(SAMPLES / "snippets.csv"), limit=3000), "minilm"
    examples = tl.split(examples, "cv")
    network = tl.load_backbone(backbone)
    network = tl.fit_length(network, examples) if name == "snippets" else network
    return tl.compute_features(examples, network, tl.apply_runtime())


def flipped(targets: Array, confusion: Array, rate: float, kind: str, seed: int) -> tuple[Array, NDArray[np.bool_]]:
    """Labels of which some were flipped, and which. confusion: [true, predicted] counts."""
    generator, labels = np.random.default_rng(seed), targets.copy()
    chosen = generator.permutation(len(targets))[:round(rate * len(targets))]
    weights = np.ones_like(confusion, dtype=float) if kind == "uniform" else confusion + 1e-9
    np.fill_diagonal(weights, 0)
    for row in chosen:
        p = weights[targets[row]]
        labels[row] = generator.choice(len(p), p=p / p.sum())
    return labels, np.isin(np.arange(len(targets)), chosen)


def predicted(features: Features) -> tuple[Predictions, tl.Evaluation, LabelErrors, float]:
    """Held-out logits of a linear head, their evaluation, the label errors, and the seconds of that without the
    head."""
    fitted = fit(features, options=TrainingOptions(class_weights="none"))
    start = time.perf_counter()
    evaluation = tl.evaluate(features.examples, fitted)
    errors = label_errors(evaluation.held_out, features.rows, "a linear head")
    return fitted.held_out, evaluation, errors, time.perf_counter() - start


def cleanlab(p: Array, labels: Array) -> dict[str, list[Any]] | None:
    """Its scores and issues; None without an environment that has it."""
    if CLEANLAB not in os.environ:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.npz"
        np.savez(path, p=p, labels=labels)
        worker = Path(__file__).with_name("cleanlab_worker.py")
        done = subprocess.run([os.environ[CLEANLAB], str(worker), str(path)], capture_output=True, text=True,
                              check=True)
    return dict(json.loads(done.stdout))


def measured(features: Features, labels: Array, wrong: NDArray[np.bool_]) -> Found:
    """One setting and seed."""
    examples = tl.split(replace(features.examples, targets=labels, split=None), "cv")
    predictions, evaluation, errors, _ = predicted(replace(features, examples=examples))
    task, rows, n = examples.task, np.arange(len(labels)), int(wrong.sum())
    p = task.probabilities(evaluation.held_out.logits)
    own, loss = p[rows, labels], task.log_loss(predictions.logits.astype(np.float64), examples.one_hot())
    place = {name: row for row, name in enumerate(zip(examples.ids, examples.origins, strict=True))}
    listed = np.array([place[error.id, error.origin] for error in errors])
    likely = np.array([place[error.id, error.origin] for error in errors if error.verdict == LIKELY], int)

    def at(score: Array, k: int) -> float:
        return float(wrong[np.argsort(-score, kind="stable")[:k]].mean())

    other = cleanlab(p, labels)
    issues = np.array(other["issues"], int) if other else np.empty(0, int)
    nothing = float("nan")
    return Found(
        average_precision_score(wrong, -own), at(-own, K), at(-own, n), average_precision_score(wrong, loss),
        at(loss, K), at(loss, n), len(listed) / n, wrong[listed].mean(), wrong[listed].sum() / n,
        wrong[likely].mean(), wrong[likely].sum() / n,
        average_precision_score(wrong, -np.array(other["scores"])) if other else nothing,
        len(issues) / n if other else nothing, wrong[issues].mean() if other else nothing,
        wrong[issues].sum() / n if other else nothing)


def settings() -> Iterator[tuple[str, str, float, Found]]:
    """Each sample, kind and rate, with the mean over the seeds. Two classes have one way to flip."""
    for name in ("stamps", "snippets"):
        features = features_of(name)
        targets, confusion = features.examples.targets, predicted(features)[1].confusion_matrix
        for kind in KINDS if len(confusion) > 2 else KINDS[:1]:
            for rate in RATES:
                found = [measured(features, *flipped(targets, confusion, rate, kind, seed)) for seed in range(SEEDS)]
                yield name, kind, rate, Found(*(float(np.mean([getattr(one, part) for one in found]))
                                                for part in Found.__dataclass_fields__))


def table() -> str:
    """Two Markdown tables: rankings, and lists."""
    found = list(settings())
    head = ("| data | flipped | average precision | by loss | precision at 20 | by loss | precision at the number "
            "flipped | by loss |")
    lines = [head, "|" + " --- |" * 8]
    lists = ["| data | flipped | listed / flipped | precision | recall | likely: precision | recall | cleanlab: "
             "listed / flipped | precision | recall |", "|" + " --- |" * 10]
    for name, kind, rate, one in found:
        what = f"| {name} | {rate:.0%}, {kind} |" if name == "stamps" else f"| {name} | {rate:.0%} |"
        cells = (one.ap, one.loss_ap, one.at_20, one.loss_at_20, one.at_flipped, one.loss_at_flipped)
        lines.append(f"{what} " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
        cells = (one.listed, one.precision, one.recall, one.likely, one.likely_recall, one.cleanlab_listed,
                 one.cleanlab_precision, one.cleanlab_recall)
        lists.append(f"{what} " + " | ".join("-" if np.isnan(cell) else f"{cell:.2f}" for cell in cells) + " |")
    return ("Ranked by calibrated self-confidence, or by the uncalibrated loss:\n\n" + "\n".join(lines)
            + "\n\nThe rows that are listed, as many as the confident joint estimates, those called likely, and those "
            "of cleanlab 2.9's `find_label_issues` on the same probabilities:\n\n" + "\n".join(lists) + "\n")


def speed() -> list[Figure]:
    """Seconds on cached features, beside those of the head."""
    if not SAMPLES.exists():
        return [Figure("label errors", "not measured: run `make quickstart` first")]
    figures = []
    for name in ("stamps", "snippets"):
        features = features_of(name)
        seconds = min(predicted(features)[3] for _ in range(3))
        figures.append(Figure(f"label errors among {len(features):,} {name}, held-out logits and features given",
                              f"{seconds:.2f} s", "<= 2 s", seconds <= 2))
    return figures
