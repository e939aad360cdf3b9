"""The quickstart: sample pictures, a trained and judged model, and one held-out picture answered by two of its formats.

python docs/quickstart.py

Prints each command before it runs it. Run again, it keeps the model that is there.
"""

import os
import subprocess
import sys
from pathlib import Path

import samples

MODEL = Path("saved_models/stamps")


def main() -> int:
    """Run the steps. Returns the first exit code that is not 0."""
    code = samples.main()
    if code:
        return code
    newest = versions()
    if newest:
        print(f"{MODEL}/{newest[-1]} is there already; remove {MODEL} to train it again\n")
    else:
        code = step("kerastl", "run", "efficientnet_lite_images", "--data", "samples/stamps", "--name", "stamps")
        if code:
            return code
        newest = versions()
    version = MODEL / str(newest[-1])
    picture = str(next(iter(sorted(Path("samples/held_out/animals").rglob("*.png")))))
    return (step("kerastl", "predict", str(MODEL), picture)
            or step("python", "docs/tflite_client.py", str(version / "tflite/model_fp32.tflite"),
                    str(version / "labels.txt"), picture))


def versions() -> list[int]:
    """The versions of the model that are there."""
    return sorted(int(path.name) for path in MODEL.glob("*") if path.name.isdecimal())


def step(*words: str) -> int:
    """Print a command, run it with this Python's programs, and print a blank line."""
    print(f"$ {' '.join(words)}", flush=True)
    here = str(Path(sys.executable).parent)
    code = subprocess.run([f"{here}/{words[0]}", *words[1:]], env={**os.environ, "PATH": here + os.pathsep +
                                                                   os.environ["PATH"]}).returncode
    print(flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
