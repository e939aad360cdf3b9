"""What chaos.py and long_run.py run: commands on tiny data, and what each of them leaves, in a form to compare."""

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chaos_remote import OUT
from child_runs import Ended, Server
from conftest import HERE, ROOT, draw_folder
from numpy.typing import NDArray
from text_folders import hugging_face_folder

RECIPE = HERE / "dropin/recipes/tiny_images.py"
SIMILAR = {"red": (150, 110, 110), "green": (110, 150, 110), "blue": (110, 110, 150)}  # every epoch can learn
SHADES = {f"c{i}": (40 + 90 * (i % 3), 40 + 90 * (i // 3 % 3), 40 + 150 * (i // 6)) for i in range(9)}
TIMES = ("head_seconds", "milliseconds")  # columns of a comparison that are measured
PATIENT = 1800.0  # seconds until a run counts as hanging: the machine may be busy
OLD = 60  # seconds by which what a kill left is made older, since the next run spares what may be about to be locked
Words = list[Any]
Result = dict[str, Any]  # numbers, and texts, by name


@dataclass(frozen=True)
class Material:
    """The data, and a model that was trained before: its folder, with one version."""

    images: Path
    shades: Path
    texts: Path
    tags: Path
    treebank: Path
    bert: Path
    fixes: Path
    model: Path


@dataclass(frozen=True)
class Case:
    """A command. words: of it, to be run in a folder of its own. result: what it wrote there. versions: whether it
    writes one beside the model that was trained before, which is copied to `out/m`. remote: whether `out` is in an
    object store. once: whether it is refused where its output exists."""

    name: str
    words: Callable[[Material, Path], Words]
    result: Callable[[Path], Result]
    versions: bool = False
    remote: bool = False
    once: bool = False


def succeeded(ended: Ended) -> Ended:
    """The same, of a run that has to succeed."""
    if ended.code:
        raise AssertionError(f"exit code {ended.code}: {ended.err}")
    return ended


def make_material(server: Server, folder: Path) -> Material:
    """Draw the data, and train the model."""
    sys.path.append(str(ROOT))
    from benchmarks.grammar import write

    images = draw_folder(folder / "images", 20, SIMILAR)
    shades = draw_folder(folder / "shades", 7, SHADES)
    bert = hugging_face_folder(folder / "bert", "bert", variant="head")
    texts, tags, fixes = folder / "texts.csv", folder / "tags.tsv", folder / "fixes.csv"
    telling = {"good": "a good great film", "bad": "an awful bad plot", "dull": "so long and not fine"}
    texts.write_text("\n".join(["text,label", *(f"{text} {'and ' * (i % 3)}scene {i},{label}"
                                               for label, text in telling.items() for i in range(20))]))
    tags.write_text("".join(f"{word}\t{'N' if word in 'abc' else 'V'}\n" + "\n" * (i % 4 == 3)
                            for i, word in enumerate("abcdefcbadfe" * 40)))
    write(folder / "treebank.conllu", 100, 1)
    write_fixes(images, fixes)
    succeeded(server.run("run", RECIPE, "--data", images, "--name", "m", "--out", folder / "out", "--cache-dir",
                         folder / "cache", *PLAIN, "--head", "linear", "--tflite", "none"))
    return Material(images, shades, texts, tags, folder / "treebank.conllu", bert, fixes, folder / "out/m")


def make_older(folder: Path) -> None:
    """What was left a moment ago may belong to a process that is about to lock it."""
    then = time.time() - OLD
    for path in [*folder.rglob("*.part"), *folder.rglob("*.part/**/*"), *folder.rglob("*.rows.npy")]:
        with suppress(FileNotFoundError):
            os.utime(path, (then, then))


def write_fixes(images: Path, path: Path) -> None:
    """A table that gives three images another label."""
    from kerastl.data.corrections import COLUMNS
    from kerastl.data.images import read_images

    examples = read_images(str(images))
    rows = [(examples.ids[row], examples.origins[row], examples.label_of(row), "red" if examples.label_of(row) != "red"
             else "blue") for row in (1, 25, 50)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


PLAIN = ("--weights", "none", "--precision", "float32", "--engine", "tensorflow", "--split", "holdout")


def cached(folder: Path) -> Words:
    return ["--cache-dir", folder / "cache"]


def run_words(material: Material, folder: Path, *more: Any) -> Words:
    return ["run", RECIPE, "--data", material.images, "--name", "m", "--out", folder / "out", *PLAIN, "--batch-size",
            8, "--tflite", "none", *cached(folder), *more]


def token_words(recipe: str, data: Path, material: Material, folder: Path, *more: Any) -> Words:
    return ["run", recipe, "--data", data, "--name", "m", "--out", folder / "out", "--weights", material.bert,
            "--layers", "layer_1+top", "--engine", "tensorflow", "--epochs", 2, *cached(folder), *more]


# What was written


def newest(folder: Path) -> Path:
    """The newest version of the model."""
    numbers = [int(path.name) for path in (folder / "out/m").iterdir() if path.name.isdecimal()]
    return folder / f"out/m/{max(numbers)}"


def weights(version: Path) -> dict[str, NDArray[Any]]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(version / "variables/variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith("_CHECKPOINTABLE")}


def version_result(folder: Path) -> Result:
    version = newest(folder)
    run = json.loads((version / "run.json").read_text())
    figures = {name: run[name] for name in ("test", "classes", "n_train", "n_test", "temperature") if name in run}
    return {**weights(version), "figures": json.dumps(figures, sort_keys=True)}


def table_result(folder: Path) -> Result:
    with np.load(folder / "x.npz") as file:
        return dict(file)


def predictions_result(folder: Path) -> Result:
    return {"table": (folder / "p.csv").read_text()}


def comparison_result(folder: Path) -> Result:
    with (folder / "comparison/rows.csv").open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    return {"rows": json.dumps(rows)}


def phone_result(folder: Path) -> Result:
    return {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in (folder / "phone").glob("*/*.tflite")}


CASES = (
    Case("features", lambda m, f: ["features", m.images, "--out", f / "x.npz", "--backbone", "tiny_net", *PLAIN[:6],
                                   "--batch-size", 8, *cached(f)], table_result),
    Case("features by workers", lambda m, f: [
        "features", m.images, "--out", f / "x.npz", "--backbone", "tiny_net", *PLAIN[:6], "--batch-size", 8,
        "--workers", 2, *cached(f)], table_result),
    Case("head by gradient", lambda m, f: run_words(m, f, "--head", "mlp", "--epochs", 4), version_result, True),
    Case("fine-tuning", lambda m, f: run_words(m, f, "--head", "linear", "--unfreeze", 1, "--epochs", 3),
         version_result, True),
    Case("export", lambda m, f: ["export", f / "out/m", "--tflite", "fp32", "--new-version", *cached(f)],
         version_result, True),
    Case("export to a folder", lambda m, f: ["export", m.model, "--tflite", "fp32", "--out", f / "phone", *cached(f)],
         phone_result, once=True),
    Case("search", lambda m, f: run_words(m, f, "--head", "mlp", "--epochs", 3, "--search", 3), version_result, True),
    Case("comparison", lambda m, f: ["compare", m.images, "--backbones", "tiny_net", "--heads", "linear,prototype",
                                     "--seeds", 2, *PLAIN[:6], "--out", f / "comparison", *cached(f)],
         comparison_result),
    Case("predictions", lambda m, f: ["predict", m.model, m.images, "--out", f / "p.csv", *cached(f)],
         predictions_result),
    Case("predictions by workers", lambda m, f: ["predict", m.model, m.images, "--out", f / "p.csv", "--workers", 2,
                                                 *cached(f)], predictions_result),
    Case("isolated predictions", lambda m, f: ["predict", m.model, m.images, "--out", f / "p.csv", "--isolate", "on",
                                               *cached(f)], predictions_result),
    Case("relabelling", lambda m, f: run_words(m, f, "--head", "linear", "--relabel", m.fixes), version_result, True),
    Case("publishing", lambda m, f: run_words(m, f, "--head", "linear", "--out", OUT), version_result, True, True),
    Case("tagger", lambda m, f: token_words("tag_tokens", m.tags, m, f), version_result, True),
    Case("parser", lambda m, f: token_words("parse_dependencies", m.treebank, m, f), version_result, True),
)


def differences(ours: Result, theirs: Result) -> Iterator[str]:
    """What differs between two results, a line each."""
    if ours.keys() != theirs.keys():
        yield f"there are {sorted(ours)}, not {sorted(theirs)}"
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if isinstance(one, str):
            if one != other:
                yield f"{name}: {one[:300]} instead of {other[:300]}"
        elif one.shape != other.shape or not np.array_equal(one, other):
            far = f", by {np.abs(one - other).max():.3g}" if one.shape == other.shape and one.dtype.kind == "f" else ""
            yield f"{name}: {one.dtype} {one.shape} differs{far}"


def rows_of(cache: Path) -> dict[str, dict[bytes, bytes]]:
    """Every row of a cache as a reader finds it: for each space, the row of each id."""
    from kerastl.features.cache import Space, SpaceKey

    found: dict[str, dict[bytes, bytes]] = {}
    for description in cache.glob("features/*/space.json"):
        key = json.loads(description.read_text())
        space = Space(cache, SpaceKey(**{**key, "shape": tuple(key["shape"])}))
        ids = {bytes(row) for path in space.folder.glob("*.ids.npy") for row in np.load(path)}
        rows = space.gather([content.hex() for content in sorted(ids)])
        contents = [row.tobytes() for row in rows]
        found[description.parent.name] = dict(zip(sorted(ids), contents, strict=True))
    return found
