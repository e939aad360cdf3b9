"""How long the command takes to answer, over how long Python takes to do nothing."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import images
from benchmarks.figure import Figure, at_most, interleaved

PROGRAM = str(Path(sys.executable).parent / "kerastl")


VERSIONS = {"image": Path("saved_models/stamps"), "text": Path("saved_models/snippets")}


def commands() -> list[Figure]:
    """The help texts, and the first prediction."""
    return [*help_texts(), *first_prediction()]


def help_texts(rounds: int = 15) -> list[Figure]:
    """`kerastl --help` and a recipe's help, over `python -c pass`."""
    words = {"pass": (sys.executable, "-c", "pass"), "help": (PROGRAM, "--help"),
             "recipe": (PROGRAM, "run", "efficientnet_lite_images", "--help")}
    took = interleaved({name: lambda command=command: subprocess.run(command, capture_output=True, check=True)
                        for name, command in words.items()}, rounds)
    base = took["pass"]
    return [at_most(f"`kerastl --help` over `python -c pass` ({1000 * took['help']:.0f} ms over {1000 * base:.0f} ms)",
                    took["help"] / base, 6),
            at_most(f"`kerastl run X --help` over `python -c pass` ({1000 * took['recipe']:.0f} ms)",
                    took["recipe"] / base, 20)]


def first_prediction(rounds: int = 5) -> list[Figure]:
    """`kerastl predict MODEL INPUT` for one input, in seconds of CPU, over `import tensorflow, keras`."""
    if not all(path.exists() for path in VERSIONS.values()):
        return [Figure("`kerastl predict` for one input", "not measured: run `make quickstart` first")]
    with tempfile.TemporaryDirectory() as folder:
        image, = images.write(Path(folder), 1, 500, 375)
        words = {"import": (sys.executable, "-c", "import tensorflow, keras"),
                 "image": (PROGRAM, "predict", str(VERSIONS["image"]), image),
                 "text": (PROGRAM, "predict", str(VERSIONS["text"]), "A quiet film that stays with you for days.")}
        best = dict.fromkeys(words, float("inf"))
        for _ in range(rounds):
            for name, command in words.items():
                best[name] = min(best[name], _cpu_seconds(command))
    return [at_most(f"`kerastl predict` for one {name} ({best[name]:.1f} s of CPU) over `import tensorflow, keras` "
                    f"({best['import']:.1f} s)", best[name] / best["import"], 1.5) for name in VERSIONS]


def _cpu_seconds(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
