"""Few labels, like for like: contrastive fine-tuning and SetFit on the same draws, seeds, weights and test rows.

SetFit runs in an environment of its own, in turn with ours; KERASTL_SETFIT is that environment's Python; how to make it
is in benchmarks/README.md. The draws are those of `few_labels.py`, two more of each size. Everything is in float32. The
time is that of training: fine-tuning, the features of the training rows and the head, without reading the weights,
predicting the test rows and writing the model; for what the rule keeps it includes the rule, which fine-tunes once per
fold besides.

All draws take two hours on two cores. Each result is therefore appended to RESULTS at once, and a run measures what is
missing there: the accuracy of every draw, and the seconds of the draws TIMED. Seconds count only where other processes
left the machine alone. To measure everything again, delete that file.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
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

PYTHON, DEVICE = "KERASTL_SETFIT", "KERASTL_SETFIT_DEVICE"  # its Python; and "cuda" where SetFit may use a GPU
RESULTS = Path(__file__).with_name("setfit.jsonl")
DRAWS, FEWER = (0, 1, 2, 3, 4), (0, 1, 2)  # the latter for what trains once more for each of five folds
TIMED = (0,)
OTHERS = 0.03  # of the cores' time; with more of it used by other processes, seconds are not counted
SETFIT, PAPER = "SetFit", "SetFit, 20 iterations"  # the default, and what its paper used (Tunstall et al. 2022)
ITERATIONS = {SETFIT: None, PAPER: 20}
FROZEN, LOSS, KEPT = "frozen backbone, `linear`", "contrastive loss", "`auto` and `contrast`, which keep the better"
MUST_WIN = (LOSS, KEPT)
TIMES = 3  # as quick as SetFit


@dataclass(frozen=True)
class Result:
    """Accuracy on the test rows; seconds of training by the clock, None where other processes were at work or SetFit
    ran on a GPU; and what else is worth a word."""

    labels: int
    seed: int
    model: str
    accuracy: float
    seconds: float | None
    note: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class Draw:
    """The training rows, then the test rows. length: of a text, in tokens."""

    examples: tl.Examples
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    labels: int
    seed: int
    length: int

    def backbone(self) -> tl.Backbone:
        """MiniLM with its own weights."""
        return fit_length(tl.load_backbone("minilm"), self.examples, self.length)


class Peer:
    """SetFit, in a process of its own."""

    def __init__(self, texts: Sequence[str], length: int) -> None:
        worker = Path(__file__).with_name("setfit_worker.py")
        self.device = os.environ.get(DEVICE, "cpu")
        self._process = subprocess.Popen([os.environ[PYTHON], "-P", str(worker)], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE)
        self._ask(model=str(minilm.folder()), max_length=length, test=list(texts), threads=os.cpu_count(),
                  device=self.device)

    def _ask(self, **line: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(line), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of SetFit ended with code {self._process.wait()}; its message is above")
        return json.loads(answer)

    def result(self, draw: Draw, iterations: int | None) -> tuple[float, float, str]:
        """Accuracy, seconds and the number of steps of one draw."""
        some, train = draw.examples, draw.train.tolist()
        answer = self._ask(texts=[some.items[row] for row in train], labels=some.targets[train].tolist(),
                           seed=draw.seed, num_iterations=iterations)
        accuracy = float((np.array(answer["predictions"]) == some.targets[draw.test]).mean())
        return accuracy, answer["seconds"], f"{answer['steps']} steps"

    def cpu_seconds(self) -> float:
        """What the process has used of all cores."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def table() -> list[Figure]:
    """Accuracy, mean and range over draws, and seconds, against SetFit, after measuring what is missing."""
    results = recorded()
    missing = [key for key in _wanted() if not _done(key, results)]
    if missing and (PYTHON not in os.environ or not SNIPPETS.exists()):
        todo = "run `make quickstart` first" if PYTHON in os.environ else f"give {PYTHON}, see benchmarks/README.md"
        return [Figure("few labels, SetFit", f"not measured: {todo}")]
    if missing:
        measure(missing)
        results = recorded()
    return [figure for labels in LABELS
            for figure in figures(labels, {name: [result for result in results if (result.labels, result.model)
                                                  == (labels, name)] for name in (FROZEN, *MUST_WIN, *ITERATIONS)})]


def recorded() -> list[Result]:
    """The results of RESULTS."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [Result(**json.loads(line)) for line in lines]


def measure(missing: Sequence[tuple[int, int, str]]) -> None:
    """Train and evaluate the models named by labels, seed and name, each in turn, and append the results to RESULTS."""
    examples, held_out, pool = snippets()
    length = fit_length(tl.load_backbone("minilm"), examples).input.single().max_length
    peer = Peer([examples.items[row] for row in held_out.tolist()], length)
    works: dict[str, Callable[[Draw], tuple[float, float, str]]] = {
        FROZEN: frozen, LOSS: loss, KEPT: kept,
        **{name: lambda draw, number=number: peer.result(draw, number) for name, number in ITERATIONS.items()}}

    def draw_of(number: int, seed: int) -> Draw:
        train = drawn(examples.targets[pool], number, seed, pool)
        some = examples.take([*train.tolist(), *held_out.tolist()])
        return Draw(some, np.arange(len(train)), np.arange(len(train), len(some)), number, seed, length)

    for name in {FROZEN if name in (FROZEN, *MUST_WIN) else SETFIT for *_, name in missing}:
        works[name](draw_of(min(LABELS), 0))  # the first of each process is not counted
    for labels, seed, name in missing:
        draw = draw_of(labels, seed)
        start, others = time.perf_counter(), _others(peer)
        accuracy, seconds, note = works[name](draw)
        share = (_others(peer) - others) / (os.cpu_count() or 1) / (time.perf_counter() - start)
        device = peer.device if name in ITERATIONS else "cpu"
        result = Result(labels, seed, name, accuracy, seconds if share < OTHERS and device == "cpu" else None, note,
                        device)
        print(f"{result}, {100 * share:.1f}% used by other processes", file=sys.stderr, flush=True)
        with RESULTS.open("a") as file:
            print(json.dumps(asdict(result)), file=file)
    peer.close()


def _wanted() -> Iterator[tuple[int, int, str]]:
    """What the table is made of, in the order of measuring: the two programs in turn."""
    for labels in LABELS:
        for seed in DRAWS:
            for name in (FROZEN, LOSS, *[KEPT] * (seed in FEWER), *ITERATIONS):
                yield labels, seed, name


def _done(key: tuple[int, int, str], results: Sequence[Result]) -> bool:
    """Whether the accuracy, and the seconds of a timed draw, are known."""
    some = [result for result in results if (result.labels, result.seed, result.model) == key]
    return any(result.seconds is not None or key[1] not in TIMED for result in some)


def _others(peer: Peer) -> float:
    """CPU seconds, of all cores, that processes other than this one and SetFit's have used since the machine started.
    Linux; see proc(5)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    own = resource.getrusage(resource.RUSAGE_SELF)
    return ((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
            - own.ru_utime - own.ru_stime - peer.cpu_seconds())


def frozen(draw: Draw) -> tuple[float, float, str]:
    """The linear head on the features of the frozen backbone, `--unfreeze 0`."""
    return (*judged(draw.backbone(), draw.examples, draw.train, draw.test), "")


def loss(draw: Draw) -> tuple[float, float, str]:
    """Fine-tuning by the contrastive loss, kept in any case: what the rule chooses from, and SetFit's like."""
    backbone = draw.backbone()
    start = time.perf_counter()
    tuning = contrastive.tune(backbone, draw.examples, draw.train, draw.seed)
    tuned = time.perf_counter() - start
    accuracy, seconds = judged(backbone, draw.examples, draw.train, draw.test)
    return accuracy, tuned + seconds, f"{len(tuning.losses)} steps"


def kept(draw: Draw) -> tuple[float, float, str]:
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
    return accuracy, seconds, "tuned" if trained.fine_tuning.kept else "frozen"


def figures(labels: int, results: dict[str, list[Result]]) -> list[Figure]:
    """For each model the difference in mean accuracy to SetFit, in points, on the draws that it has, and the ratio of
    the mean seconds of the draws that all of them were timed on. results: of one number of labels, by model; a draw
    measured twice counts with its last accuracy."""
    accuracies = {name: {result.seed: result.accuracy for result in some} for name, some in results.items()}
    seconds = {name: {result.seed: result.seconds for result in some if result.seconds is not None}
               for name, some in results.items()}
    timed = sorted(set.intersection(*(set(some) for some in seconds.values())))
    table = []
    for name, some in sorted(accuracies.items(), key=lambda item: item[0] != SETFIT):
        peer = mean(accuracies[SETFIT][seed] for seed in some)
        gain = mean(some.values()) - peer
        figure = (f"{100 * gain:+.1f} points", *((">= 0", gain >= 0) if name in MUST_WIN else ()))
        table.append(Figure(
            f"{labels} labels per class, {len(some)} draws: {name} {_in_words([*some.values()])}{_notes(results[name])}"
            + f"; SetFit on the same {peer:.3f}" * (name != SETFIT), *((f"{peer:.3f}",) if name == SETFIT else figure)))
    if not timed:
        return [*table, Figure(f"{labels} labels per class: seconds", "not measured: other processes were at work")]
    time_of = {name: mean(some[seed] for seed in timed) for name, some in seconds.items()}
    return table + [at_least(f"{labels} labels per class, {len(timed)} draw(s): seconds of {other} "
                             f"({time_of[other]:.1f}) over those of {name} ({time_of[name]:.1f})",
                             time_of[other] / time_of[name], TIMES) for name in MUST_WIN for other in ITERATIONS]


def _in_words(scores: Sequence[float]) -> str:
    """Mean and range."""
    return f"{mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})"


def _notes(results: Sequence[Result]) -> str:
    """The notes of the draws, and how many draws have each where they differ."""
    note_of = {result.seed: result.note for result in results if result.note}
    notes = sorted(set(note_of.values()))
    counts = {note: f"{sum(some == note for some in note_of.values())} of {len(note_of)} " for note in notes}
    return "".join(f", {counts[note] if len(notes) > 1 else ''}{note}" for note in notes)
