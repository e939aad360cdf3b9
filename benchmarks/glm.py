"""ChatGLM2-6B's kin, with random weights: speed against transformers on torch, what fewer bits cost, a run, full size.

Weights are random, for published ones could not be had: what fewer bits cost trained ones may be more, or less.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figure, at_least, interleaved
from benchmarks.glm_folder import PHRASES, mid_size, random_tokens, write_folder

TORCH = "KERASTL_TORCH"  # the Python of an environment with torch and transformers
BATCH, LENGTH = 16, 128  # of what is timed
NO_TORCH = f"not measured: give {TORCH}, see benchmarks/README.md"
OTHER = """
import sys, time
import numpy as np, torch
from transformers import AutoModel
torch.set_num_threads(int(sys.argv[3]))
model = AutoModel.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2])).eval()
tokens = torch.from_numpy(np.load(sys.argv[4]).astype(np.int64))
mask = torch.ones_like(tokens)
print("ready", flush=True)
with torch.inference_mode():
    for line in sys.stdin:
        out = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float().mean(1)
        np.save(sys.argv[5], out.numpy())
        print("done", flush=True)
"""


def speed(rounds: int = 5) -> list[Figure]:
    """Tokens a second on the mid-size network, and how near the features of fewer bits come to those of float32."""
    from kerastl.runtime import KEPT

    tokens = random_tokens(mid_size(), BATCH, LENGTH)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "glm"
        write_folder(folder, mid_size())
        ours = {kept: _engine(folder, kept) for kept in KEPT}
        figures = [_against_torch(folder, kept, tokens, ours[kept], rounds) for kept in ("float32", "bfloat16")]
        took = interleaved({kept: lambda kept=kept: ours[kept](tokens) for kept in KEPT}, rounds)
        figures.append(at_least(f"speed of int8 over float32 ({_rates(took, tokens)})",
                                took["float32"] / took["int8"], 1.0))
        figures += [_openvino(folder, compute, tokens, ours[compute], rounds) for compute in ("float32", "bfloat16")]
        found = {kept: ours[kept](tokens) for kept in KEPT}
    return figures + [Figure(f"lowest cosine of {kept} mean features to float32 ones",
                             f"{_cosine(found[kept], found['float32']):.5f}") for kept in KEPT[1:]]


def whole_run() -> list[Figure]:
    """The recipe on 200 texts with the mid-size network: seconds, and whether every artifact kept its bound."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        write_folder(place / "glm", mid_size())
        _write_table(place / "t.csv", 200)
        run = _told("run", "glm2_transformer_text", "--data", place / "t.csv", "--weights", place / "glm", "--name",
                    "m", "--out", place / "o", "--cache-dir", place / "c", "--precision", "int8")
    kept = all(one["kept"] for one in run["parity"])
    seconds = ", ".join(f"{name} {run['seconds'][name]:.0f}" for name in ("features", "head", "export", "total"))
    return [Figure(f"`glm2_transformer_text` on 200 texts, 98 M random parameters, int8 (seconds: {seconds})",
                   "every artifact within its bound" if kept else f"broken: {run['breaches']}", "within", kept)]


def _engine(folder: Path, kept: str) -> Callable[[NDArray[np.int32]], NDArray[np.float32]]:
    import kerastl as tl
    from kerastl.features.engines.tensorflow import large_engine

    backbone = tl.load_backbone("glm2_6b", str(folder), precision=kept)
    return large_engine(backbone.model, backbone.large).run


def _openvino(folder: Path, compute: str, tokens: NDArray[np.int32], ours: Callable[..., Any], rounds: int) -> Figure:
    """Speed of the same network in OpenVINO, which the kit does not use for large backbones."""
    import kerastl as tl
    from kerastl.features.engines.openvino import make_engine

    engine = make_engine(tl.load_backbone("glm2_6b", str(folder), precision="float32").model, compute)
    took = interleaved({"ours": lambda: ours(tokens), "OpenVINO": lambda: engine.run(tokens)}, rounds)
    return Figure(f"speed of OpenVINO over ours, {compute}, 98 M parameters ({_rates(took, tokens)})",
                  f"{took['ours'] / took['OpenVINO']:.2f}")


def _against_torch(folder: Path, kept: str, tokens: NDArray[np.int32], ours: Callable[..., Any], rounds: int) -> Figure:
    what = f"speed over transformers and torch, {kept}, 98 M parameters"
    if TORCH not in os.environ:
        return Figure(what, NO_TORCH, ">= 0.8")
    with _torch(folder, kept, tokens) as (torch, answer):
        took = interleaved({"ours": lambda: ours(tokens), "torch": torch}, rounds)
        near = _cosine(ours(tokens), np.load(answer))
    what += f" ({_rates(took, tokens)}; lowest cosine of features {near:.5f})"
    return at_least(what, took["torch"] / took["ours"], 0.8)


@contextmanager
def _torch(folder: Path, kept: str, tokens: NDArray[np.int32]) -> Iterator[tuple[Callable[[], object], Path]]:
    """A process that computes the same features by transformers when it is called, and where its answer is."""
    given, answer = folder / "tokens.npy", folder / "answer.npy"
    np.save(given, tokens)
    words = [os.environ[TORCH], "-c", OTHER, folder, kept, str(os.cpu_count()), given, answer]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def call() -> None:
            print("go", file=process.stdin, flush=True)
            if process.stdout.readline() != "done\n":
                raise RuntimeError(f"{TORCH} failed")

        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{TORCH} failed")
        yield call, answer
        process.stdin.close()


def _rates(took: dict[str, float], tokens: NDArray[np.int32]) -> str:
    return ", ".join(f"{name} {tokens.size / seconds:.0f}" for name, seconds in took.items()) + " tokens/s"


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from kerastl.features.engines.check import least_cosine

    return least_cosine(a, b)


def _write_table(path: Path, rows: int) -> None:
    """Texts of two classes, told by a phrase."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *(
            (f"{PHRASES[i % 2]} {PHRASES[2 + i % 4]} {i}", ("good", "bad")[i % 2]) for i in range(rows))])


def _told(*words: object) -> dict[str, Any]:
    done = subprocess.run([Path(sys.executable).with_name("kerastl"), *map(str, words), "--json"],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):  # 1: an artifact broke its bound, which the record says
        raise RuntimeError(f"kerastl {words[0]} ended with {done.returncode}")
    return dict(json.loads(done.stdout))
