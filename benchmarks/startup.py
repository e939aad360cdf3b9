"""How long the command takes to answer, over how long Python takes to do nothing."""

import subprocess
import sys
from pathlib import Path

from benchmarks.figure import Figure, at_most, interleaved

PROGRAM = str(Path(sys.executable).parent / "kerastl")


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
