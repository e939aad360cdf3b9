"""Makes versions of models with the code of another commit, to test that this code still reads them.

    git worktree add /tmp/old 25d0e7a
    cd /tmp/old && PYTHONPATH=$PWD:$PWD/tests python GOLDEN/make_old_version.py FOLDER

writes FOLDER/models/image/1 (cross-validated), FOLDER/models/tuned/1 (hold-out, a search, one unfrozen block) and
FOLDER/models/text/1 (several labels per row). `run-0.1-image.json`, `run-0.1-tuned.json` and `run-0.1-text.json` are
the files run.json of these folders, made with commit 25d0e7a, the last one before records were typed. Paths in them are
relative to FOLDER. To load such a folder whole: `kerastl predict FOLDER/models/image FOLDER/images/red/0.png`.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from conftest import draw_folder  # of the other commit, as is everything else here
from text_folders import hugging_face_folder

from kerastl.cli import main

WORDS = {"colour": ("red", "green", "blue"), "animal": ("cat", "dog", "bird"), "number": ("one", "two", "three")}


def write_texts(path: Path, rows: int) -> None:
    """A table of sentences with one or two labels each."""
    generator, labels = np.random.default_rng(0), list(WORDS)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for row in range(rows):
            chosen = labels[row % 3:row % 3 + 1 + row % 2]
            words = [str(generator.choice(WORDS[label])) for label in chosen for _ in range(3)]
            writer.writerow((f"{' '.join(words)} {row}", "|".join(chosen)))


def make(folder: Path) -> None:
    """Make the data and the three models."""
    recipe = str(Path.cwd() / "tests/dropin/recipes/tiny_images.py")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    draw_folder(Path("images"), 14)
    write_texts(Path("texts.csv"), 60)
    hugging_face_folder(Path("bert"), "bert")
    shared = ["--out", "models", "--cache-dir", "cache"]
    assert main(["run", recipe, "--data", "images", "--name", "image", "--weights", "none", *shared]) in (0, 1)
    assert main(["run", recipe, "--data", "images", "--name", "tuned", "--weights", "none", "--split", "holdout",
                 "--search", "3", "--head", "mlp", "--unfreeze", "1", "--tflite", "none", *shared]) == 0
    assert main(["run", "bert_text", "--data", "texts.csv", "--name", "text", "--weights", "bert", "--tflite", "none",
                 *shared]) == 0


if __name__ == "__main__":
    make(Path(sys.argv[1]))
