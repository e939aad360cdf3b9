"""The quickstart: trains an image model and a text model on sample data, evaluates them, and predicts on new inputs.

python docs/quickstart.py [images | texts]

Prints each command before running it. A model that already exists is not trained again.
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


def main(words: list[str]) -> int:
    """Run one part, or both. Returns the first exit code other than 0."""
    parts = {"images": images, "texts": texts}
    if len(words) > 1 or set(words) - set(parts):
        print("usage: python docs/quickstart.py [images | texts]", file=sys.stderr)
        return 2
    return next((code for name in words or parts if (code := parts[name]())), 0)


def images() -> int:
    """Train on the stamps, then predict a held-out image with the SavedModel and with a TFLite file."""
    code = samples.main() or train("stamps", "efficientnet_lite_images", "samples/stamps")
    if code:
        return code
    version = MODELS / "stamps" / str(versions("stamps")[-1])
    image = str(next(iter(sorted(Path("samples/held_out/animals").rglob("*.png")))))
    return (step("kerastl", "predict", "saved_models/stamps", image)
            or step("python", "docs/tflite_client.py", str(version / "tflite/model_fp32.tflite"),
                    str(version / "labels.txt"), image))


def texts() -> int:
    """Train on the movie snippets, then predict two sentences."""
    return (snippets.main() or train("snippets", "minilm_text", "samples/snippets.csv", "--limit", "3000")
            or step("kerastl", "predict", "saved_models/snippets", *SENTENCES))


def train(name: str, recipe: str, data: str, *more: str) -> int:
    """Run a recipe, unless the model already exists."""
    if existing := versions(name):
        print(f"{MODELS / name / str(existing[-1])} already exists; delete {MODELS / name} to train it again\n")
        return 0
    return step("kerastl", "run", recipe, "--data", data, "--name", name, *more)


def versions(name: str) -> list[int]:
    """The version numbers of a model, ascending."""
    return sorted(int(path.name) for path in (MODELS / name).glob("*") if path.name.isdecimal())


def step(*words: str) -> int:
    """Print a command, run it with the programs of this Python environment, and print a blank line."""
    print(f"$ {shlex.join(words)}", flush=True)
    here = str(Path(sys.executable).parent)
    code = subprocess.run([f"{here}/{words[0]}", *words[1:]], env={**os.environ, "PATH": here + os.pathsep +
                                                                   os.environ["PATH"]}).returncode
    print(flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
