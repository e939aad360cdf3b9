"""The feature pass against torch and stock OpenVINO, which run in an environment of their own, in turn with ours.

KERASTL_TORCH is that environment's Python; how to make it is in benchmarks/README.md.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

import kerastl as tl
from benchmarks.figure import Figure, at_least
from kerastl.backbones import minilm
from kerastl.features.engines.check import check, engine_of
from kerastl.features.engines.engine import Arithmetic
from kerastl.features.engines.tensorflow import call_of, plain_engine, spec_of
from kerastl.runtime import cpu_flags

TORCH = "KERASTL_TORCH"
BATCH, ROUNDS = 32, 5
ACCURATE = 0.999  # the least cosine at which a peer counts


class Peer:
    """A network of another library, in a process of its own."""

    def __init__(self, **work: Any) -> None:
        self.name = f"{work['kind']} {work['dtype']}"
        worker = Path(__file__).with_name("peer_worker.py")
        self._process = subprocess.Popen([os.environ[TORCH], str(worker)], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE)
        self.cosine = float(self._ask(json.dumps({**work, "threads": os.cpu_count()})))

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()

    def seconds(self) -> float:
        """That one batch takes."""
        return float(self._ask(""))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def passes() -> list[Figure]:
    """Rows per second of our quickest accurate engine over those of the best peer, decoded input, batch 32."""
    if TORCH not in os.environ:
        return [Figure("feature pass over peers", f"not measured: give {TORCH}, see benchmarks/README.md")]
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("inception_v3", "resnet50", "efficientnet_lite0"):
            backbone = tl.load_backbone(name, "bundled" if name == "efficientnet_lite0" else "none")
            size = backbone.input.size
            pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)
            figures += _compared(backbone, pixels, Path(folder) / name, name)
        for length in (32, 128, 256):
            backbone = tl.load_backbone("minilm")
            tokens = np.random.default_rng(0).integers(1000, 30_000, (BATCH, length)).astype(np.int32)
            tokens[:, 0], tokens[:, -1] = 101, 102
            figures += _compared(backbone, tokens, Path(folder) / f"minilm{length}", f"minilm, {length} tokens")
    return figures


def _compared(backbone: tl.Backbone, batch: np.ndarray, folder: Path, what: str) -> list[Figure]:
    texts = batch.ndim == 2
    folder.mkdir()
    np.save(folder / "inputs.npy", batch)
    _save(backbone, folder / "saved")
    ours, expected = {}, plain_engine(backbone.model).run(batch)
    for arithmetic in (Arithmetic(kind, engine) for engine in ("tensorflow", "openvino")
                       for kind in ("float32", "bfloat16")):
        engine = engine_of(backbone.model, arithmetic)
        if check(engine, batch, expected)[0]:
            ours[str(arithmetic)] = engine
    work = {"network": backbone.name, "inputs": str(folder / "inputs.npy")}
    peers = [Peer(kind=kind, dtype=dtype, model=str(minilm.folder() if kind == "torch" else folder / "saved"), **work)
             for kind in ("torch", "openvino") for dtype in ("float32", "bfloat16")]
    took: dict[str, list[float]] = {name: [] for name in [*ours, *(peer.name for peer in peers)]}
    for _ in range(ROUNDS):
        for name, engine in ours.items():
            took[name].append(_seconds(engine, batch))
        for peer in peers:
            took[peer.name].append(peer.seconds())
    for peer in peers:
        peer.close()
    rate = {name: BATCH / median(times) for name, times in took.items()}
    accurate = {peer.name: rate[peer.name] for peer in peers if peer.cosine >= ACCURATE
                and not (peer.name == "torch bfloat16" and backbone.name == "efficientnet_lite0")}
    best = max(rate[name] for name in ours)
    rates = ", ".join(f"{name} {value:.1f}" + ("" if name in ours or name in accurate else " (inaccurate)")
                      for name, value in rate.items())
    if not texts:
        return [at_least(f"pass over the best accurate peer, {what} (images/s: {rates})",
                         best / max(accurate.values()), 1)]
    torch = "torch bfloat16" if "amx_bf16" in cpu_flags() else "torch float32"
    return [at_least(f"pass over {torch}, {what} (texts/s: {rates})", best / rate[torch], 0.8),
            at_least(f"pass over stock OpenVINO, {what}",
                     best / max(value for name, value in accurate.items() if name.startswith("openvino")), 1.8)]


def _seconds(engine: Any, batch: np.ndarray) -> float:
    start = time.perf_counter()
    engine.run(batch)
    return time.perf_counter() - start


def _save(backbone: tl.Backbone, folder: Path) -> None:
    """The network as a plain SavedModel, as `kerastl` exports it."""
    module = tf.Module()
    module.weights = [variable.value for variable in backbone.model.variables]
    module.run = tf.function(call_of(backbone.model), input_signature=[spec_of(backbone.model)], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.run})
