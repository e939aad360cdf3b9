"""Few labels, like for like: contrastive fine-tuning and SetFit on the same draws, seeds, weights and test rows.

SetFit runs in an environment of its own, in turn with ours; KERASTL_SETFIT is that environment's Python; how to make it
is in benchmarks/README.md. The draws are those of `few_labels.py`, two more of each size. Everything is in float32. The
time is that of training: fine-tuning, the features of the training rows and the head, without reading the weights,
predicting the test rows and writing the model; for what the rule keeps it includes the rule, which fine-tunes once per
fold besides.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kerastl as tl
from benchmarks.few_labels import LABELS, SNIPPETS, drawn, judged, snippets
from benchmarks.figure import Figure, at_least
from kerastl.backbones import minilm
from kerastl.features.compute import compute_features
from kerastl.features.lengths import fit_length
from kerastl.runtime import apply
from kerastl.training.fine_tuning import contrastive
from kerastl.training.fine_tuning.batches import predictions_on

PYTHON = "KERASTL_SETFIT"
DRAWS = (0, 1, 2, 3, 4)
SETFIT, PAPER = "SetFit", "SetFit, 20 iterations"  # the default, and what its paper used (Tunstall et al. 2022)
ITERATIONS = {SETFIT: None, PAPER: 20}
FROZEN, LOSS, KEPT = "frozen backbone, `linear`", "contrastive loss", "`auto` and `contrast`, which keep the better"
MUST_WIN = (LOSS, KEPT)
TIMES = 3  # as quick as SetFit


@dataclass(frozen=True)
class Result:
    """Accuracy on the test rows, seconds of training by the clock, and what else is worth a word."""

    accuracy: float
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Draw:
    """The training rows, then the test rows. length: of a text, in tokens."""

    examples: tl.Examples
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    seed: int
    length: int

    def backbone(self) -> tl.Backbone:
        """MiniLM with its own weights."""
        return fit_length(tl.load_backbone("minilm"), self.examples, self.length)


class Peer:
    """SetFit, in a process of its own."""

    def __init__(self, texts: Sequence[str], length: int) -> None:
        worker = Path(__file__).with_name("setfit_worker.py")
        self._process = subprocess.Popen([os.environ[PYTHON], "-P", str(worker)], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE)
        self.version = self._ask(model=str(minilm.folder()), max_length=length, test=list(texts),
                                 threads=os.cpu_count())["version"]

    def _ask(self, **line: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(line), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of SetFit ended with code {self._process.wait()}; its message is above")
        return json.loads(answer)

    def result(self, draw: Draw, iterations: int | None) -> Result:
        """Of one draw."""
        some, train = draw.examples, draw.train.tolist()
        answer = self._ask(texts=[some.items[row] for row in train], labels=some.targets[train].tolist(),
                           seed=draw.seed, num_iterations=iterations)
        accuracy = float((np.array(answer["predictions"]) == some.targets[draw.test]).mean())
        return Result(accuracy, answer["seconds"], f"{answer['steps']} steps")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def table(labels: Sequence[int] = LABELS, seeds: Sequence[int] = DRAWS) -> list[Figure]:
    """Accuracy, mean and range over draws, and seconds, against SetFit. Each result goes to standard error at once."""
    if PYTHON not in os.environ or not SNIPPETS.exists():
        todo = "run `make quickstart` first" if PYTHON in os.environ else f"give {PYTHON}, see benchmarks/README.md"
        return [Figure("few labels, SetFit", f"not measured: {todo}")]
    examples, held_out, pool = snippets()
    length = fit_length(tl.load_backbone("minilm"), examples).input.single().max_length
    peer = Peer([examples.items[row] for row in held_out.tolist()], length)
    works: dict[str, Callable[[Draw], Result]] = {
        FROZEN: frozen, LOSS: loss, KEPT: kept,
        **{name: lambda draw, number=number: peer.result(draw, number) for name, number in ITERATIONS.items()}}

    def draw_of(number: int, seed: int) -> Draw:
        train = drawn(examples.targets[pool], number, seed, pool)
        some = examples.take([*train.tolist(), *held_out.tolist()])
        return Draw(some, np.arange(len(train)), np.arange(len(train), len(some)), seed, length)

    for name in (FROZEN, SETFIT):
        works[name](draw_of(min(labels), 0))  # the first of each process is not counted
    figures = []
    for number in labels:
        results: dict[str, list[Result]] = {name: [] for name in works}
        for seed in seeds:
            for name, work in works.items():
                results[name].append(work(draw_of(number, seed)))
                print(f"{number} labels, draw {seed}, {name}: {results[name][-1]}", file=sys.stderr, flush=True)
        figures += _figures(number, results, f"version {peer.version}; {length} tokens, {len(held_out):,} test rows")
    peer.close()
    return figures


def frozen(draw: Draw) -> Result:
    """The linear head on the features of the frozen backbone, `--unfreeze 0`."""
    return Result(*judged(draw.backbone(), draw.examples, draw.train, draw.test))


def loss(draw: Draw) -> Result:
    """Fine-tuning by the contrastive loss, kept in any case: what the rule chooses from, and SetFit's like."""
    backbone = draw.backbone()
    start = time.perf_counter()
    tuning = contrastive.tune(backbone, draw.examples, draw.train, draw.seed)
    tuned = time.perf_counter() - start
    accuracy, seconds = judged(backbone, draw.examples, draw.train, draw.test)
    return Result(accuracy, tuned + seconds, f"{len(tuning.losses)} steps")


def kept(draw: Draw) -> Result:
    """What `--unfreeze auto` ships, and `contrast` too: the tuned backbone where cross-validation finds it better."""
    training = tl.split(draw.examples.take(draw.train.tolist()), "cv")
    backbone = draw.backbone()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        features = compute_features(training, backbone, apply("float32", "off", draw.seed), cache_dir=Path(folder))
        trained = tl.train(features, unfreeze="auto")
        seconds = time.perf_counter() - start
        assert trained.fine_tuning and trained.input
        p = predictions_on(trained.model, trained.input, draw.examples, draw.test, 32)
    accuracy = float((p.logits.argmax(axis=1) == draw.examples.targets[draw.test]).mean())
    return Result(accuracy, seconds, "tuned" if trained.fine_tuning.kept else "frozen")


def _figures(labels: int, results: dict[str, list[Result]], conditions: str) -> list[Figure]:
    """For each of ours the difference in mean accuracy to SetFit, in points, and the ratio of the mean seconds."""
    accuracy = {name: mean(result.accuracy for result in some) for name, some in results.items()}
    seconds = {name: mean(result.seconds for result in some) for name, some in results.items()}
    what = f"{labels} labels per class, {len(results[SETFIT])} draw(s)"
    figures = [Figure(f"{what}: {SETFIT} {_in_words(results[SETFIT])} ({conditions})", f"{accuracy[SETFIT]:.3f}")]
    figures += [Figure(f"{what}: {name} {_in_words(some)}", f"{100 * (accuracy[name] - accuracy[SETFIT]):+.1f} points",
                       *((">= 0", accuracy[name] >= accuracy[SETFIT]) if name in MUST_WIN else ()))
                for name, some in results.items() if name != SETFIT]
    return figures + [at_least(f"{labels} labels per class: seconds of SetFit ({seconds[SETFIT]:.1f}) over those of "
                               f"{name} ({seconds[name]:.1f})", seconds[SETFIT] / seconds[name], TIMES)
                      for name in MUST_WIN]


def _in_words(results: Sequence[Result]) -> str:
    """Mean accuracy, its range, mean seconds and the notes."""
    scores = [result.accuracy for result in results]
    notes = sorted({result.note for result in results if result.note})
    counted = [f"{sum(result.note == note for result in results)} of {len(results)} {note}" if len(notes) > 1 else note
               for note in notes]
    return (f"{mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f}) in "
            f"{mean(result.seconds for result in results):.1f} s{''.join(f', {note}' for note in counted)}")
