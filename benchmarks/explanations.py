"""The two checks of explanations on many held-out rows of the samples, and what they say of maps that explain nothing:
edges of an image, and lengths of words, which do not depend on the head."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.explanation.explainer import Explained, Explainer, explainer_for
from kerastl.explanation.record import Explanations
from kerastl.features.compute import Features
from kerastl.model import parts_of, pooling_for
from kerastl.studies.explanations import explain_run
from kerastl.training.train import TrainedModel

STAMPS, SNIPPETS = Path("samples/stamps"), Path("samples/snippets.csv")
ROWS = 3000
CHECKED = 100  # rows
HEADS = {"stamps": ("linear", "joint", "mlp", "plain"), "snippets": ("linear", "joint", "mlp")}
GOAL = 3.0  # seconds


@dataclass(frozen=True)
class Blind:
    """An explainer whose contributions follow from the row alone. own: the explainer of the model."""

    own: Explainer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def explain(self, rows: Sequence[Any], places: Sequence[int], *heads: Any) -> list[list[Explained]]:
        """As the model's own, with other contributions."""
        return [[replace(explained, contributions=_blind(row, explained))
                 for row, explained in zip(rows, of_head, strict=True)]
                for of_head in self.own.explain(rows, places, *heads)]


def _blind(row: Any, explained: Explained) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The edges in each cell of an image; the letters of each unit of a text."""
    if explained.spans:
        return np.array([end - start for _, start, end in explained.spans], np.float32)
    height, width = explained.shape
    grey, size = row.astype(np.float32).mean(axis=2), len(row)
    edges = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    by_row = np.add.reduceat(edges, [-(-size * i // height) for i in range(height)], axis=0)
    return np.add.reduceat(by_row, [-(-size * i // width) for i in range(width)], axis=1).ravel()


def trained_on(name: str, head: str) -> tuple[Features, TrainedModel]:
    """Cross-validated features of a sample, and a head on them."""
    if name == "stamps":
        examples = tl.split(tl.find_near_duplicates(tl.read_images(str(STAMPS))), "cv")
        network = tl.load_backbone("efficientnet_lite0", pooling=pooling_for(head))
    else:
        examples = tl.split(tl.find_near_duplicates(tl.read_texts(str(SNIPPETS), limit=ROWS)), "cv")
        network = tl.fit_length(tl.load_backbone("minilm", pooling=pooling_for(head)), examples)
    features = tl.compute_features(examples, network, tl.apply_runtime())
    trained = tl.train(features, head)
    return replace(features, backbone=features.backbone.taking(trained.input)), trained  # type: ignore[arg-type]


def measured(samples: Sequence[str] = tuple(HEADS)) -> Iterator[tuple[str, str, Explanations]]:
    """Sample, head, and what the checks find."""
    for name, heads in ((name, HEADS[name]) for name in samples):
        for head in heads:
            features, trained = trained_on(name, head)
            evaluation = tl.evaluate(features.examples, trained.fitted)
            yield name, f"`{head}`", explain_run(features, trained, evaluation, rows=CHECKED)
            if head != "linear":
                continue
            parts, source = parts_of(trained.model), features.backbone.input
            blind: Any = Blind(explainer_for(features.examples.modality, parts, source, fine=False))
            what = "edges" if name == "stamps" else "lengths of words"
            yield name, f"`{head}`, {what} instead", explain_run(features, trained, evaluation, rows=CHECKED,
                                                                explainer=blind)


def as_rows(samples: Sequence[str] = tuple(HEADS)) -> list[tuple[str, ...]]:
    """The rows of the table in docs/results.md."""
    rows = []
    for name, head, found in measured(samples):
        assert found.similarity is not None and found.gain_ci95 is not None
        low, high = found.gain_ci95
        rows.append((name, head, found.method, f"{found.similarity:.2f}", f"{found.marked:.2f}", f"{found.random:.2f}",
                     f"{found.gain:.2f} ({low:.2f} to {high:.2f})", str(found.rows),
                     "withheld" if found.withheld else "shown"))
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def of_a_run() -> list[Figure]:
    """Seconds that explanations add to the quickstart's two runs, on cached features."""
    if not (STAMPS.exists() and SNIPPETS.exists()):
        return [Figure("Explanations of a run", "not measured: run `make quickstart` first")]
    figures = []
    for name in ("stamps", "snippets"):
        features, trained = trained_on(name, "best")
        evaluation = tl.evaluate(features.examples, trained.fitted)
        start, cpu = time.perf_counter(), time.process_time()
        found = explain_run(features, trained, evaluation)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        figures.append(Figure(f"Explanations of a run, {name}, {found.method}: {len(found.examples)} rows shown, "
                              f"{found.rows} checked", f"{seconds:.1f} s ({cpu:.1f} s of CPU)",
                              f"<= {GOAL:g} s", seconds <= GOAL))
    return figures


if __name__ == "__main__":
    as_rows(sys.argv[1:] or tuple(HEADS))
