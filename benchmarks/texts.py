"""Texts: the feature pass against `predict`, heads from the cache against `fit`, memory, and a table read in a stream.

On the movie snippets of `python docs/snippets.py`, with the real MiniLM weights.
"""

import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerastl as tl
from benchmarks.figure import Figure, at_least, at_most, interleaved
from benchmarks.training import halves
from kerastl.features.compute import compute_features
from kerastl.features.engines.check import engine_of
from kerastl.features.engines.choose import allowed
from kerastl.features.lengths import fit_length
from kerastl.heads import resolve_head
from kerastl.inputs.texts import Texts
from kerastl.model import predict_logits
from kerastl.runtime import apply, cpu_has_bfloat16
from kerastl.training.fitters.gradient import descend
from kerastl.training.options import TrainingOptions

SNIPPETS = Path("samples/snippets.csv")
BATCH, EPOCHS = 32, 10
MISSING = "not measured: run `make quickstart` first"


def _snippets(limit: int | None = None) -> tl.Examples:
    return tl.read_texts(str(SNIPPETS), limit=limit)


def _tokens(source: Texts, items: Any, length: int) -> np.ndarray:
    """Every text padded to one length, as most scripts do. [n, length] int32."""
    wide = replace(source, max_length=length)
    return np.concatenate([wide.fixed(row) for batch in wide.batches(items, BATCH, {}, in_order=True)
                           for row in batch.values])


def over_predict(rounds: int = 3) -> list[Figure]:
    """Texts per second of the pass, tokenising included, over those of `predict` on tokens made before."""
    if not SNIPPETS.exists():
        return [Figure("feature pass over `predict`, movie snippets", MISSING)]
    examples, backbone = _snippets(1000), tl.load_backbone("minilm")
    items = list(examples.items)
    long = [" ".join(items[(i * 7 + k) % len(items)] for k in range(9)) for i in range(256)]
    figures = []
    for what, texts, goals in (("movie snippets", items, (5, 3)), ("texts of 128 tokens", long, (1.5, 1.1))):
        source = replace(backbone.input, max_length=128)
        padded = _tokens(source, texts, 128)
        engines = {str(kind): engine_of(backbone.model, kind) for kind in allowed(apply(), False)[0]}

        def run(kind: str, source: Any = source, texts: Any = texts, engines: Any = engines) -> None:
            for batch in source.batches(texts, BATCH, {}):
                engines[kind].run(batch.values)

        took = interleaved({"predict": lambda x=padded: backbone.model.predict(x, batch_size=BATCH, verbose=0),
                            **{kind: lambda run=run, kind=kind: run(kind) for kind in engines}}, rounds)
        chosen = min(engines, key=lambda kind: took[kind])
        rates = ", ".join(f"{kind} {len(texts) / seconds:.0f}" for kind, seconds in took.items())
        figures.append(at_least(f"feature pass over `predict` padded to 128, MiniLM, {what}, batch 32 (texts/s: "
                                f"{rates}; quickest: {chosen})", took["predict"] / took[chosen],
                                goals[0] if cpu_has_bfloat16() else goals[1]))
    return figures


def from_cache() -> list[Figure]:
    """10 epochs of `mlp` on 500 snippets: from the cache, pass included, against Keras through the encoder."""
    if not SNIPPETS.exists():
        return [Figure("10 epochs of `mlp`, movie snippets", MISSING)]
    examples = halves(_snippets(1000))
    assert examples.split is not None
    train, judged = (examples.take(examples.split.rows(part).tolist()) for part in (0, 2))
    mine = [_ours(train, judged, seed) for seed in range(2)]
    theirs = [_through_keras(train, judged, seed) for seed in range(2)]
    seconds = [float(np.mean([one[0] for one in side])) for side in (theirs, mine)]
    accuracy = [100 * float(np.mean([one[1] for one in side])) for side in (theirs, mine)]
    gap = accuracy[1] - accuracy[0]
    return [
        at_least(f"{EPOCHS} epochs of `mlp` on {len(train)} movie snippets, MiniLM: Keras `fit` padded to one length "
                 f"({seconds[0]:.0f} s) over ours with the feature pass ({seconds[1]:.1f} s), 2 seeds",
                 seconds[0] / seconds[1], 8),
        Figure(f"accuracy on {len(judged)} others, ours minus Keras' ({accuracy[1]:.1f}% minus {accuracy[0]:.1f}%)",
               f"{gap:+.2f} points", "within 0.5", abs(gap) <= 0.5)]


def _ours(train: tl.Examples, judged: tl.Examples, seed: int) -> tuple[float, float]:
    backbone, runtime = fit_length(tl.load_backbone("minilm"), train), apply(seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        features = compute_features(train, backbone, runtime, cache_dir=Path(folder))
        options = TrainingOptions(class_weights="none", head_batch_size=BATCH)
        rows = np.arange(len(train))
        head = descend(resolve_head("mlp"), features, rows, None, options, epochs=EPOCHS).model
        seconds = time.perf_counter() - start
        x = compute_features(judged, backbone, runtime, cache_dir=Path(folder)).rows(np.arange(len(judged)))
    return seconds, float((predict_logits(head, x).argmax(axis=1) == judged.targets).mean())


def _through_keras(train: tl.Examples, judged: tl.Examples, seed: int) -> tuple[float, float]:
    """`fit` on the spliced model, all texts padded to one length that holds nearly all."""
    backbone = fit_length(tl.load_backbone("minilm"), train)
    keras.utils.set_random_seed(seed)
    model = tl.splice(backbone, resolve_head("mlp").build(backbone.shape, len(train.classes)))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-2),
                  keras.losses.CategoricalCrossentropy(from_logits=True))
    length = backbone.input.record()["max_length"]
    x, asked = (_tokens(backbone.input, one.items, length) for one in (train, judged))
    model.fit(x[:BATCH], train.one_hot()[:BATCH], batch_size=BATCH, verbose=0)  # builds the graph
    start = time.perf_counter()
    model.fit(x, train.one_hot(), epochs=EPOCHS, batch_size=BATCH, verbose=0)
    seconds = time.perf_counter() - start
    return seconds, float((predict_logits(model, asked, BATCH).argmax(axis=1) == judged.targets).mean())


PASS = """
import sys
from pathlib import Path
import kerastl as tl
examples = tl.split(tl.read_texts(sys.argv[1], cache_dir=Path(sys.argv[2])))
if sys.argv[3] == "pass":
    backbone = tl.fit_length(tl.load_backbone("minilm", "bundled"), examples)
    tl.compute_features(examples, backbone, tl.apply_runtime(), cache_dir=Path(sys.argv[2]))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def memory() -> list[Figure]:
    """Peak memory of a pass with ten times the rows, and of reading a table of 1 GB over one of 100 MB."""
    peaks, took = {}, {}
    for name, rows, words, work in (("few", 1_000, 20, "pass"), ("many", 10_000, 20, "pass"),
                                    ("100 MB", 200_000, 80, "read"), ("1 GB", 2_000_000, 80, "read")):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "t.csv"
            _write(table, rows, words)
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", PASS, table, folder, work], capture_output=True, text=True,
                                  check=True)
            took[name], peaks[name] = time.perf_counter() - start, float(done.stdout.split()[-1]) / 1024
    return [at_most(f"peak memory of the pass, 10,000 texts over 1,000 ({peaks['many']:.0f} MiB over "
                    f"{peaks['few']:.0f} MiB)", peaks["many"] / peaks["few"], 1.1),
            Figure(f"peak memory of reading and splitting a CSV of 1 GB (2,000,000 rows, {took['1 GB']:.0f} s) over "
                   f"one of 100 MB ({peaks['1 GB']:.0f} MiB over {peaks['100 MB']:.0f} MiB)",
                   f"{peaks['1 GB'] / peaks['100 MB']:.2f}")]


def _write(path: Path, rows: int, words: int) -> None:
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("text", "label"))
        for start in range(0, rows, 1000):
            numbers = generator.integers(0, 30_000, (min(1000, rows - start), words))
            out.writerows((f"{start + i} " + " ".join(f"w{n}" for n in line), "ab"[line[0] % 2])
                          for i, line in enumerate(numbers))
