"""The quickstart: a model of images and one of texts, trained on samples, judged, and asked something new.

python docs/quickstart.py

Prints each command before it runs it. Run again, it keeps the model that is there.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import samples
import snippets

MODELS = Path("saved_models")
SENTENCES = ("A quiet film that stays with you for days.", "Two hours of noise, and not one idea.")


def main() -> int:
    """Run the steps. Returns the first exit code that is not 0."""
    return samples.main() or snippets.main() or images() or texts()


def images() -> int:
    """Train on the stamps, and ask two of the model's formats about an image that was held out."""
    code = trained("stamps", "efficientnet_lite_images", "samples/stamps")
    if code:
        return code
    version = MODELS / "stamps" / str(versions("stamps")[-1])
    image = str(next(iter(sorted(Path("samples/held_out/animals").rglob("*.png")))))
    return (step("kerastl", "predict", "saved_models/stamps", image)
            or step("python", "docs/tflite_client.py", str(version / "tflite/model_fp32.tflite"),
                    str(version / "labels.txt"), image))


def texts() -> int:
    """Train on the movie snippets, and ask the model about two sentences."""
    return (trained("snippets", "minilm_text", "samples/snippets.csv", "--limit", "3000")
            or step("kerastl", "predict", "saved_models/snippets", *SENTENCES))


def trained(name: str, recipe: str, data: str, *more: str) -> int:
    """Run a recipe, unless its model is there."""
    if found := versions(name):
        print(f"{MODELS / name / str(found[-1])} is there already; remove {MODELS / name} to train it again\n")
        return 0
    return step("kerastl", "run", recipe, "--data", data, "--name", name, *more)


def versions(name: str) -> list[int]:
    """The versions of a model that are there."""
    return sorted(int(path.name) for path in (MODELS / name).glob("*") if path.name.isdecimal())


def step(*words: str) -> int:
    """Print a command, run it with this Python's programs, and print a blank line."""
    print(f"$ {shlex.join(words)}", flush=True)
    here = str(Path(sys.executable).parent)
    code = subprocess.run([f"{here}/{words[0]}", *words[1:]], env={**os.environ, "PATH": here + os.pathsep +
                                                                   os.environ["PATH"]}).returncode
    print(flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
