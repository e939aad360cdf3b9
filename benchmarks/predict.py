"""Predicting for many inputs: its speed over that of the SavedModel on decoded input, and its memory."""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import images
from benchmarks.figure import Figure, at_least, at_most

VERSIONS = {"image": Path("saved_models/stamps"), "text": Path("saved_models/snippets")}
SNIPPETS = Path("samples/snippets.csv")
MISSING = "not measured: run `make quickstart` first"
MEASURE = """
import json, resource, sys, time
from pathlib import Path
import kerastl as tl
model, inputs, engine, out = tl.load(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
start, cpu = time.perf_counter(), time.process_time()
result = tl.predict_inputs(model, inputs, engine=engine, out=out, keep=False)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
alone = 0.0
if model.modality.in_files:  # the network alone, on pixels
    import tensorflow as tf
    from kerastl.inputs import restored
    source = restored(model.modality, model.record.input, model.folder)
    paths = [str(path) for path in sorted(Path(inputs[0]).glob("*.jpg"))[:512]]
    batches = [batch.values for batch in source.batches(paths, 32, {})]
    model.tensor(images=tf.constant(batches[0]))
    start = time.perf_counter()
    for batch in batches:
        model.tensor(images=tf.constant(batch))["logits"].numpy()
    alone = len(paths) / (time.perf_counter() - start)
print(json.dumps({"rate": result.total / seconds, "core_ms": 1000 * cpu / result.total, "peak": peak, "alone": alone,
                  "notes": result.notes}))
"""


def _measured(model: Path, inputs: list[str], engine: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", MEASURE, model, json.dumps(inputs), engine, f"{folder}/out.csv"],
                              capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def in_bulk() -> list[Figure]:
    """5,000 images and 20,000 texts: images over the network alone, both engines, and memory over a tenth of them."""
    if not all(path.exists() for path in (*VERSIONS.values(), SNIPPETS)):
        return [Figure("`kerastl predict` for many inputs", MISSING)]
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        images.write(few, 500, 500, 375)
        images.write(many, 5000, 500, 375)
        with SNIPPETS.open(newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        tables = {Path(folder) / f"{count}.csv": count for count in (2_000, 20_000)}
        for path, count in tables.items():
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([["text"], *([texts[i % len(texts)]] for i in range(count))])
        sources = {"image": ([str(few)], [str(many)]), "text": tuple([str(path)] for path in tables)}
        figures = []
        for modality, (small, large) in sources.items():
            figures += _figures(modality, VERSIONS[modality], small, large)
    return figures


def _figures(modality: str, model: Path, small: list[str], large: list[str]) -> list[Figure]:
    count = {"image": "5,000 JPEGs of 500 x 375", "text": "20,000 movie snippets"}[modality]
    low, high = (_measured(model, inputs, "saved_model") for inputs in (small, large))
    other = _measured(model, large, "openvino")
    what = f"`kerastl predict`, {count} ({high['rate']:.0f} a second, {high['core_ms']:.1f} core-ms each)"
    figures = [at_least(f"{what} over the network alone ({high['alone']:.0f})", high["rate"] / high["alone"], 0.85)
               ] if high["alone"] else [Figure(what, f"{high['rate']:.0f} a second")]
    return [*figures,
            Figure(f"the same with `--engine openvino` ({other['rate']:.0f} a second) over without; "
                   f"{other['notes'][-1]}", f"{other['rate'] / high['rate']:.2f}"),
            at_most(f"peak memory over that of a tenth of them ({high['peak']:.0f} MiB over {low['peak']:.0f} MiB)",
                    high["peak"] / low["peak"], 1.1)]
