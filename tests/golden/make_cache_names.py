"""Makes cache_names.json: what version 0.1 called the spaces of its cache, and the keys of truncated texts in it.

A cache of features outlives a version of kerastl, so these names may only change when the rows do. Run once with a
checkout of commit 25d0e7a, whose names this script uses:

    PYTHONPATH=CHECKOUT:CHECKOUT/tests python tests/golden/make_cache_names.py
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import conftest  # noqa: F401  brings the tiny backbone
import numpy as np
from kerastl.export.teacher import Teacher, _logits  # type: ignore[import-not-found]
from kerastl.training.raw import with_raw  # type: ignore[import-not-found]
from text_folders import hugging_face_folder

import kerastl as tl
from kerastl.features.compute import _space, compute_features
from kerastl.runtime import choose

TEXTS = ["good film", "a very long and dull story " * 20, "the plot", "awful"]


def head(shape, classes):
    import keras

    return keras.Sequential([keras.Input(shape, name="features"), keras.layers.Dense(classes)])


def named(folder: Path, draw_folder) -> dict[str, object]:
    runtime = choose("float32", "off", gpu=False, bfloat16_cpu=False)
    bert = str(hugging_face_folder(folder / "bert", "bert"))
    rows = folder / "texts.csv"
    rows.write_text("text,label\n" + "".join(f"{text} {i},{'ab'[i % 2]}\n" for i in range(5) for text in TEXTS))
    images = tl.read_images(str(draw_folder(folder / "images", 3)), min_per_class=0)
    texts = tl.read_texts(str(rows), min_per_class=0)
    pinned = {"weights_hash": "0" * 32}
    backbones = {
        "images": tl.load_backbone("tiny_net", "none"),
        "images, inner layer": tl.load_backbone("tiny_net", "none", tap="block1"),
        "maps": tl.load_backbone("tiny_net", "none", pooling="none"),
        "texts": tl.load_backbone("bert_base", bert),
        "texts, cls": tl.load_backbone("bert_base", bert, pooling="cls"),
        "token states": tl.load_backbone("bert_base", bert, pooling="none", tap="layer_1"),
    }
    backbones = {name: replace(backbone, **pinned) for name, backbone in backbones.items()}
    names: dict[str, object] = {
        name: {kind: _space(folder, backbone, kind).key.name for kind in ("float32", "bfloat16")}
        for name, backbone in backbones.items()}
    for name, examples in (("images", images), ("texts", texts)):
        backbone = backbones[name]
        features = compute_features(tl.split(examples, "cv"), backbone, runtime, cache_dir=folder)
        names[f"{name}, raw inputs"] = with_raw(features, backbone, cache_dir=folder).raw_space.key.name
        before = {path.name for path in (folder / "features").iterdir()}
        model = tl.splice(backbone, head(backbone.shape, len(examples.classes)))
        _logits(Teacher(folder, {}, model, backbone.input, "1" * 32), examples, np.arange(2), folder)
        names[f"{name}, teacher's logits"], = {path.name for path in (folder / "features").iterdir()} - before
    for long in ("head", "head+tail", "chunks"):
        source = replace(backbones["texts"].input, max_length=16, long=long)
        names[f"keys of texts, {long}"] = list(source.keys(["a" * 32, "b" * 32], TEXTS[:2]))
    return names


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        names = named(Path(folder), conftest.draw_folder)
    (Path(__file__).parent / "cache_names.json").write_text(json.dumps(names, indent=1) + "\n")
