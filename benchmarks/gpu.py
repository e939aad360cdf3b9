"""One GPU against the processor: the feature pass and fine-tuning, with XLA and in 16-bit types.

python benchmarks/gpu.py [--rehearse] [--rows N] [--backbone NAME --weights KIND]
The processor's answers, in float32 without XLA, come from a process that uses no GPU. Prints one table. Without a GPU
it prints "not run: no GPU"; `--rehearse` runs all of it on the processor, which shows only that the script
works.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import kerastl as tl  # noqa: E402
from benchmarks import images  # noqa: E402
from kerastl.devices import CPU, has_gpu, limit_devices  # noqa: E402
from kerastl.training.options import TrainingOptions  # noqa: E402

WAYS = (("float32", "off"), ("float32", "on"), ("mixed_bfloat16", "off"), ("mixed_float16", "off"),
        ("mixed_float16", "on"))  # policy, XLA
BATCH, BLOCKS, ROUNDS = 32, 1, 3


def data(folder: Path, rows: int) -> tl.Examples:
    """Synthetic photographs of two classes, split into training, validation and test rows."""
    for number, name in enumerate(("light", "dark")):
        images.write(folder / name, rows // 2, 320 + 40 * number, 240)
    return tl.split(tl.read_images(str(folder)), "holdout")


def runtime(precision: str, xla: str) -> Any:
    """A runtime with everything requested by name."""
    return tl.apply_runtime(precision, xla, engine="tensorflow")


def features(examples: tl.Examples, network: tl.Backbone, chosen: Any) -> tuple[np.ndarray, float]:
    """The rows of all images, as the training rows are computed, and images a second without decoding."""
    from kerastl.features.engines.check import engine_of
    from kerastl.features.engines.engine import Arithmetic
    from kerastl.features.engines.tensorflow import COMPUTE

    source = network.input.stepped() if chosen.xla else network.input
    batches = [batch.values for batch in source.batches(examples.items, BATCH, {}, in_order=True)]
    engine = engine_of(network.model, Arithmetic(COMPUTE[chosen.precision]), chosen.xla)
    rows = np.concatenate([engine.run(batch) for batch in batches])  # also builds the graph
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for batch in batches:
            engine.run(batch)
        seconds.append(time.perf_counter() - start)
    return rows, len(examples) / min(seconds)


def tuned(examples: tl.Examples, network: tl.Backbone, chosen: Any) -> tuple[np.ndarray, float]:
    """The validation losses of two epochs, and the seconds that fine-tuning took, building its graphs included."""
    weights = network.model.get_weights()
    with tempfile.TemporaryDirectory() as cache:
        rows = tl.compute_features(examples, network, replace(chosen, precision="float32", xla=False), cache_dir=cache)
        rows = replace(rows, runtime=chosen)
        head = tl.fit(rows, "linear")
        model = tl.splice(rows.backbone, head.head)
        start = time.perf_counter()
        _, result = tl.fine_tune(rows, model, head, BLOCKS, options=TrainingOptions(
            2, BATCH, fine_tuning=tl.TuningOptions(augment="none")))
        seconds = time.perf_counter() - start
    network.model.set_weights(weights)
    return np.array([epoch["val_loss"] for epoch in result.epochs]), seconds


def answers(examples: tl.Examples, network: tl.Backbone, path: Path) -> None:
    """What the processor computes, as a file."""
    chosen = runtime("float32", "off")
    rows, speed = features(examples, network, chosen)
    losses, seconds = tuned(examples, network, chosen)
    np.savez(path, rows=rows, speed=speed, losses=losses, seconds=seconds)


def table(examples: tl.Examples, network: tl.Backbone, known: dict[str, np.ndarray]) -> Iterator[str]:
    """The lines of the table."""
    from kerastl.features.engines.check import largest_difference, least_cosine

    yield "| what | precision | XLA | speed | over the processor | against the processor's float32 |"
    yield "|---|---|---|---|---|---|"
    for precision, xla in WAYS:
        rows, speed = features(examples, network, runtime(precision, xla))
        yield (f"| feature pass | {precision} | {xla} | {speed:.0f} images/s | {speed / float(known['speed']):.2f} | "
               f"least cosine {least_cosine(rows, known['rows']):.5f}, largest difference "
               f"{largest_difference(rows, known['rows']):.1e} |")
    for precision, xla in WAYS:
        losses, seconds = tuned(examples, network, runtime(precision, xla))
        yield (f"| fine-tuning | {precision} | {xla} | {seconds:.1f} s | {float(known['seconds']) / seconds:.2f} | "
               f"validation losses {', '.join(f'{loss:.4f}' for loss in losses)}, off by "
               f"{np.abs(losses - known['losses']).max():.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    limit_devices(CPU if asked.answers or asked.rehearse else 1)
    if not has_gpu() and not asked.answers and not asked.rehearse:
        print("not run: no GPU")
        return
    with tempfile.TemporaryDirectory() as folder:
        examples, network = data(Path(folder) / "data", asked.rows), tl.load_backbone(asked.backbone, asked.weights)
        if asked.answers:
            answers(examples, network, asked.answers)
            return
        path = Path(folder) / "answers.npz"
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--answers", str(path)], check=True)
        with np.load(path) as file:
            known = dict(file)
        print("rehearsal on the processor: no figure here is one of a GPU" if asked.rehearse else device(), flush=True)
        for line in table(examples, network, known):
            print(line, flush=True)


def device() -> str:
    """The GPU and the versions."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return f"{details.get('device_name', 'GPU')}, TensorFlow {tf.__version__}"


if __name__ == "__main__":
    main()
