"""The arithmetic of a feature pass, with the reason. bfloat16 on a CPU is used only where it was measured to be faster.
"""

import json
from pathlib import Path

from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.features.engines.check import speed_ratio
from kerastl.features.engines.tensorflow import COMPUTE
from kerastl.files import cache_folder, is_writable, open_file, write_atomically
from kerastl.runtime import Runtime, machine

SPEED_FILE = "speed", "bfloat16.json"  # folder in the cache directory, file
BATCH = 32  # images or texts that are timed


def choose_compute(examples: Examples, backbone: Backbone, runtime: Runtime, all_held_out: bool, cache_dir: Path
                   ) -> tuple[str, str]:
    """float32, bfloat16 or float16, and the reason. all_held_out: whether every row is held out once, as in
    cross-validation; then rows are computed as the exported model does, unless the precision was requested by name."""
    compute = COMPUTE[runtime.precision]
    if runtime.explicit_precision or compute == "float32":
        return compute, f"{compute}: {runtime.precision_reason}"
    if all_held_out:
        return "float32", "float32, to match the exported model"
    if compute != "bfloat16":
        return compute, f"{compute}: {runtime.precision_reason}"
    ratio = _bfloat16_ratio(examples, backbone, cache_dir)
    if ratio < 1.0:
        return "float32", ("float32, which is faster than bfloat16 on this machine "
                           f"(bfloat16 runs at {ratio:.2f} times its speed)")
    return compute, f"bfloat16, which is {ratio:.2f} times as fast as float32 on this machine"


def _bfloat16_ratio(examples: Examples, backbone: Backbone, cache_dir: Path) -> float:
    """The speed of bfloat16 over that of float32 on this CPU for this backbone: measured once, then read from the
    cache."""
    import tensorflow as tf

    path = cache_dir / SPEED_FILE[0] / SPEED_FILE[1]
    known: dict[str, float] = {}
    if path.exists():
        with open_file(path, "r") as file:
            known = json.load(file)
    here = machine()
    name = f"{here['processor']}, {here['cores']} cores, TensorFlow {tf.__version__}, {backbone.name}"
    if name not in known:
        batch = next(backbone.input.batches(examples.items, BATCH, {}), None)
        if batch is None:
            return 0.0
        known[name] = speed_ratio(backbone.model, batch.values)
        if is_writable(path.parent):
            write_atomically(cache_folder(cache_dir, SPEED_FILE[0]) / SPEED_FILE[1], json.dumps(known, indent=1))
    return known[name]
