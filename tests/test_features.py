"""The feature pass: what is computed, what is not, graphs checked against the plain model, runs that were stopped."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import COLOURS, draw, draw_folder
from text_folders import hugging_face_folder
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.backbones import Backbone, weights_hash
from kerastl.errors import DataError, OptionError
from kerastl.evaluation.image_histograms import ImageHistograms
from kerastl.features import fill
from kerastl.features.cache import Space
from kerastl.features.compute import Features
from kerastl.features.engines import check
from kerastl.features.engines import tensorflow as engine
from kerastl.features.engines.choose import choose_engine
from kerastl.features.engines.engine import Arithmetic, Engine
from kerastl.features.housekeeping import usage
from kerastl.features.layout import space_of
from kerastl.features.raw_inputs import with_raw
from kerastl.inputs import batches
from kerastl.inputs.batches import decode_file
from kerastl.inputs.images import decoder
from kerastl.runtime import Runtime, choose
from kerastl.studies.distillation import Teacher
from kerastl.studies.distillation import _logits as teacher_logits
from kerastl.training.fine_tuning.batches import values_of

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


def run(folder: Path, backbone: Backbone, cache: Path, runtime: Runtime | None = None, split: str = "cv", **more: Any
        ) -> Features:
    examples = tl.split(tl.read_images(str(folder), min_per_class=more.pop("min_per_class", 5)), split)
    return tl.compute_features(examples, backbone, runtime or plain_runtime(), cache_dir=cache, **more)


def direct(found: Features, backbone: Backbone) -> np.ndarray:
    """The plain model on every image: what the rows should be."""
    pixels = np.stack([decode_file(path, backbone.input.size) for path in found.examples.items])
    return backbone.model.predict(pixels.astype(np.float32), verbose=0)


def everything(found: Features) -> np.ndarray:
    """All rows, each from where it is read: held-out ones where rows that judge are."""
    split = found.examples.split
    if split.mode == "cv":
        return found.rows(np.arange(len(found.examples)))
    rows = np.zeros((len(found.examples), found.shape[0]), np.float32)
    training = np.setdiff1d(np.arange(len(rows)), split.held_out)
    rows[training], rows[split.held_out] = found.rows(training), found.held_out_rows(split.held_out)
    return rows


def by_origin(found: Features) -> dict[str, bytes]:
    return {origin: row.tobytes() for origin, row in zip(found.examples.origins, everything(found), strict=True)}


# What is computed


@pytest.mark.slow
def test_rows_are_the_plain_models_and_lie_by_their_image(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    found = run(images, backbone, tmp_path, batch_size=5)
    wanted = direct(found, backbone)
    assert (found.shape[0], found.computed, found.compute) == (24, 42, "float32")
    assert np.abs(wanted - wanted.mean(axis=0)).max() > 0.01  # images differ, so places matter
    assert np.abs(everything(found) - wanted).max() < 1e-5
    some = np.array([30, 2, 2, 17])
    assert np.array_equal(found.rows(some), everything(found)[some])
    assert np.array_equal(found.held_out_rows(some), found.rows(some))


@pytest.mark.slow
def test_a_file_that_changes_after_it_was_hashed_is_never_stored_under_the_old_hash(backbone: Backbone, tmp_path: Path
                                                                                    ) -> None:
    folder, cache = draw_folder(tmp_path / "d", 8), tmp_path / "cache"
    changed, other = folder / "red/0.png", (folder / "blue/1.png").read_bytes()
    content = changed.read_bytes()
    examples = tl.split(tl.read_images(str(folder), min_per_class=5), "cv")
    changed.write_bytes(other)
    found = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=cache)
    assert [(one.origin, "changed" in one.reason) for one in found.examples.skipped] == [("red/0.png", True)]
    assert examples.ids[examples.origins.index("red/0.png")] not in found.space
    with pytest.raises(DataError, match="red/0.png can no longer be read: changed"):
        list(values_of(backbone.input, examples, np.arange(24), 8))
    with pytest.raises(DataError, match="red/0.png can no longer be read: changed"):
        ImageHistograms(examples)
    with pytest.raises(DataError, match="red/0.png can no longer be read: changed"):
        with_raw(replace(found, examples=examples, keys=()))
    changed.write_bytes(content)
    again = run(folder, backbone, cache)
    assert again.computed == 1 and np.abs(everything(again) - direct(again, backbone)).max() < 1e-5
    raw = with_raw(again).raw_rows(np.arange(24))
    assert np.array_equal(raw, [decode_file(path, 32) for path in again.examples.items])


def test_a_file_that_was_being_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(path := tmp_path / "a.png", COLOURS["red"], 1)
    content = path.read_bytes()
    reads = iter([content[:100], content])
    monkeypatch.setattr(batches, "read_bytes", lambda path: next(reads))
    assert np.array_equal(batches.decode_file(str(path), 32, batches.content_hash(content)), decoder(32)(content))


@pytest.mark.slow
def test_ten_new_images_are_ten_new_rows(backbone: Backbone, tmp_path: Path) -> None:
    folder, cache = draw_folder(tmp_path / "d", 8), tmp_path / "cache"
    first = run(folder, backbone, cache)
    assert first.computed == 24 and "folded" in first.reason
    again = run(folder, backbone, cache)
    assert again.computed == 0 and "all rows cached" in again.reason
    assert by_origin(again) == by_origin(first)
    for i in range(10):
        draw(folder / "blue" / f"new{i}.png", (70, 70, 200), 5000 + i)
    more = run(folder, backbone, cache)
    assert more.computed == 10 and len(more.examples) == 34
    assert by_origin(more).items() > by_origin(first).items()
    assert np.abs(everything(more) - direct(more, backbone)).max() < 1e-5


@pytest.mark.slow
def test_a_hold_out_computes_each_row_once_too(backbone: Backbone, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 25)
    found = run(folder, backbone, tmp_path / "cache", split="holdout")
    assert found.computed == 75 and run(folder, backbone, tmp_path / "cache", split="holdout").computed == 0
    assert run(folder, backbone, tmp_path / "cache", split="cv").computed == 0  # the split decides no number


def test_duplicates_are_computed_once(backbone: Backbone, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 6)
    for i in range(3):
        shutil.copy(folder / "red/1.png", folder / f"red/twin{i}.png")
    shutil.copy(folder / "red/1.png", folder / "green/twin.png")  # also under another label
    found = run(folder, backbone, tmp_path / "cache")
    assert len(found.examples) == 22 and found.computed == 18
    rows = by_origin(found)
    assert {rows[f"red/twin{i}.png"] for i in range(3)} == {rows["red/1.png"]} == {rows["green/twin.png"]}
    assert len(set(rows.values())) == 18


@pytest.mark.slow
def test_other_weights_are_other_rows(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    run(images, backbone, tmp_path)
    other = tiny_backbone()
    other.model.layers[2].kernel.assign(other.model.layers[2].kernel * 1.5)
    other = replace(other, weights_hash=weights_hash(other.model))
    found = run(images, other, tmp_path)
    assert found.computed == 42 and np.abs(everything(found) - direct(found, other)).max() < 1e-5
    assert run(images, backbone, tmp_path).computed == 0


@pytest.mark.slow
def test_a_cap_frees_room_but_not_under_a_run(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    found = run(images, backbone, tmp_path, cache_limit=0)
    assert [one.rows for one in usage(tmp_path)] == [0]
    assert np.abs(everything(found) - direct(found, backbone)).max() < 1e-5
    assert run(images, backbone, tmp_path).computed == 42


# Images that do not decode


@pytest.mark.slow
@pytest.mark.parametrize("split", ["cv", "holdout"])
def test_undecodable_images_are_left_out_with_reasons_and_training_goes_on(split: str, backbone: Backbone,
                                                                             tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 30)
    bad = {}
    for i in range(12):  # enough to lie on every side of a hold-out
        bad[f"red/cut{i}.png"] = (folder / f"red/{i}.png").read_bytes()[:-1200 - i]
    bad |= {"green/notes.dat": b"no image", "green/twin.dat": b"no image", "blue/empty.png": b""}
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    for expected in (90, 0):  # a run over a full cache leaves out the same
        found = run(folder, backbone, tmp_path / "cache", split=split)
        reasons = {one.origin: one.reason for one in found.examples.skipped}
        assert set(reasons) == set(bad) and all(reasons.values())
        assert "not an image" in reasons["green/notes.dat"] and "empty" in reasons["blue/empty.png"]
        assert found.computed == expected and len(found.examples) == 90
        assert np.abs(everything(found) - direct(found, backbone)).max() < 1e-5
    fitted = tl.fit(found)
    assert tl.evaluate(found.examples, fitted.held_out, fitted.validation).accuracy > 0.8


def test_a_image_that_vanishes_and_a_class_that_becomes_too_small(backbone: Backbone, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 10)
    examples = tl.split(tl.read_images(str(folder)), "cv")
    (folder / "blue/3.png").unlink()
    found = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path / "cache")
    assert {one.origin: one.reason for one in found.examples.skipped} == {
        "blue/3.png": "No such file or directory", "blue": "class of 9 rows, fewer than 10 (`min_per_class`)"}
    assert found.examples.classes == ("green", "red") and everything(found).shape == (20, 24)


@pytest.mark.slow
def test_nothing_that_decodes_is_one_error(backbone: Backbone, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.png").write_bytes(f"{name}{i}".encode())
    with pytest.raises(DataError, match="nothing in .* can be decoded"):
        run(tmp_path, backbone, tmp_path / "cache")


# Graphs


def noise(model: Any, n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *model.input_shape[1:])).astype(np.uint8)


def chosen_engine(model: Any, pixels: np.ndarray, xla: bool = False) -> tuple[Engine, str]:
    """The engine for TensorFlow in float32, and why."""
    choice = choose_engine(replace(tiny_backbone(), model=model), pixels, [Arithmetic("float32")], len(pixels),
                           plain_runtime(xla="on" if xla else "off"), Path())
    return choice.engine, choice.reason


@pytest.mark.parametrize("name", ["tiny_net", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
@pytest.mark.parametrize("xla", [False, True], ids=["folded", "xla"])
def test_a_graph_agrees_with_the_plain_model(name: str, xla: bool) -> None:
    model = tl.load_backbone(name).model if name != "tiny_net" else tiny_backbone().model
    pixels = noise(model)
    made, word = chosen_engine(model, pixels, xla)
    assert made.graph == ("xla" if xla else "folded") and "is not used" not in word
    wanted = model.predict(pixels.astype(np.float32), verbose=0)
    given = made.run(pixels)
    assert given.dtype == np.float32 and check.least_cosine(given, wanted) > 0.99999
    assert np.allclose(given, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    assert np.allclose(made.run(pixels[:1]), given[:1], rtol=1e-3, atol=1e-4)  # another batch size


def off_by_a_row(folded: Callable[..., Any]) -> Callable[..., Any]:
    return lambda pixels: [np.roll(np.asarray(folded(pixels)[0]), 1, axis=0)]


def not_finite(folded: Callable[..., Any]) -> Callable[..., Any]:
    return lambda pixels: [np.asarray(folded(pixels)[0]) * np.nan]


def spread(model: Any) -> Any:
    """The model less its mean answer, so that the cosine between different images is low."""
    centre = model.predict(noise(model, 64).astype(np.float32), verbose=0).mean(axis=0)
    return keras.Model(model.input, keras.layers.Lambda(lambda x: x - centre)(model.output))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [off_by_a_row, not_finite])
def test_a_graph_with_wrong_numbers_is_not_used_and_it_is_said(fault: Any, backbone: Backbone, images: Path,
                                                               tmp_path: Path, monkeypatch) -> None:
    real = engine.convert_variables_to_constants_v2
    monkeypatch.setattr(engine, "convert_variables_to_constants_v2", lambda function: fault(real(function)))
    wrong = replace(backbone, model=spread(backbone.model), weights_hash="spread")
    found = run(images, wrong, tmp_path)
    assert re.search(r"plain Keras model.*folded graph in float32 is not used because it is inaccurate \(cosine -?\d",
                     found.reason)
    assert np.abs(everything(found) - direct(found, wrong)).max() < 1e-6
    made, _ = chosen_engine(wrong.model, noise(wrong.model))
    assert (made.graph, made.compute) == ("plain", "float32")


def test_a_model_too_large_for_float16_falls_back_to_the_float32_graph(backbone: Backbone, images: Path,
                                                                       tmp_path: Path) -> None:
    """Nothing is put in anything's place here: numbers above 65504 are infinite in float16."""
    pixels = keras.Input((32, 32, 3))
    large = keras.layers.Dense(24, kernel_initializer=keras.initializers.Constant(1e5))(backbone.model(pixels))
    model = keras.Model(pixels, keras.layers.Activation("linear")(large))
    loud = replace(backbone, model=model, weights_hash=weights_hash(model))
    found = run(images, loud, tmp_path, plain_runtime(precision="mixed_float16"))
    assert found.compute == "float32" and "in float16 is not used because it is inaccurate (cosine 0.0" in found.reason
    assert found.reason.startswith("float32; ") and "as requested" not in found.reason  # float16 was
    assert np.isfinite(everything(found)).all() and everything(found).max() > 65504
    assert {one.compute: one.rows for one in usage(tmp_path)} == {"float32": 42, "float16": 0}


@pytest.mark.parametrize(("a", "b", "least"), [
    ([[1, 0], [0, 2]], [[3, 0], [0, 1]], 1.0), ([[1, 0], [0, 2]], [[3, 0], [1, 0]], 0.0), ([[0, 0]], [[0, 0]], 1.0),
    ([[0, 0]], [[0, 1]], 0.0), ([[1, 1]], [[-1, -1]], -1.0), ([[np.nan, 1]], [[1, 1]], 0.0),
    ([[np.inf, 1]], [[np.inf, 1]], 0.0), ([[1e30, 0]], [[1e30, 0]], 1.0)])
def test_least_cosine_by_hand(a: list[list[float]], b: list[list[float]], least: float) -> None:
    assert check.least_cosine(np.array(a, np.float32), np.array(b, np.float32)) == pytest.approx(least)


@pytest.mark.slow
def test_xla_on_and_off_give_the_same_features(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    found = {xla: run(images, backbone, tmp_path / xla, plain_runtime(xla=xla)) for xla in ("on", "off")}
    assert "xla graph" in found["on"].reason and "folded graph" in found["off"].reason
    assert found["on"].computed == found["off"].computed == 42
    assert np.abs(everything(found["on"]) - everything(found["off"])).max() < 1e-4
    assert run(images, backbone, tmp_path / "on", plain_runtime(xla="off")).computed == 0  # XLA decides no number


# Kinds of numbers


@pytest.mark.slow
def test_short_rows_go_to_a_space_of_their_own_and_float32_rows_judge(backbone: Backbone, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 25)
    found = run(folder, backbone, tmp_path, plain_runtime(precision="mixed_bfloat16"), "holdout")
    judged = found.examples.split.held_out
    assert found.compute == "bfloat16" and found.space.folder != found.held_out_space.folder
    assert {one.compute: one.rows for one in usage(tmp_path)} == {"bfloat16": 75 - len(judged), "float32": len(judged)}
    assert found.computed == 75 and 0 < len(judged) < 25
    wanted = direct(found, backbone)
    assert np.abs(found.held_out_rows(judged) - wanted[judged]).max() < 1e-5
    training = np.setdiff1d(np.arange(75), judged)
    assert check.least_cosine(found.rows(training), wanted[training]) >= check.LEAST_COSINE
    with pytest.raises(KeyError):
        found.held_out_rows(training)  # a row that trains has no float32 twin to be judged by mistake


@pytest.mark.slow
def test_cross_validated_rows_are_float32_unless_asked_for_by_name(backbone: Backbone, images: Path, tmp_path: Path
                                                                   ) -> None:
    chosen = choose("auto", "off", gpu=False, bfloat16_cpu=True)
    assert chosen.precision == "mixed_bfloat16"
    found = run(images, backbone, tmp_path / "auto", chosen)
    assert (found.compute, found.computed) == ("float32", 42) and "to match the exported model" in found.reason
    found = run(images, backbone, tmp_path / "asked", plain_runtime(precision="mixed_bfloat16"))
    assert (found.compute, found.computed) == ("bfloat16", 84) and "as requested" in found.reason
    assert np.abs(found.held_out_rows(np.arange(42)) - direct(found, backbone)).max() < 1e-5


# What features offer


@pytest.mark.slow
def test_features_come_as_an_array_with_labels(backbone: Backbone, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "d", 25)
    found = run(folder, backbone, tmp_path, plain_runtime(precision="mixed_bfloat16"), "holdout")
    array, test = found.array, found.examples.split.held_out
    assert array.shape == (75, 24) and array.dtype == np.float32 and np.array_equal(array, everything(found))
    assert np.array_equal(array[test], found.held_out_rows(test))
    assert found.labels.tolist() == [found.examples.label_of(row) for row in range(75)]
    assert set(found.labels) == set(COLOURS)
    unlabelled = replace(found, examples=replace(found.examples, classes=()))
    assert unlabelled.labels.tolist() == [""] * 75


@pytest.mark.slow
def test_a_repr_of_features_is_short(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    found = run(images, backbone, tmp_path)
    assert repr(found) == "Features(42 x 24 float32, tiny_net, 3 classes)"
    assert repr(found.space) == f"Space({found.space.key.name}, 42 rows)"
    maps = run(images, tl.load_backbone("tiny_net", "none", pooling="none"), tmp_path)
    assert repr(maps) == "Features(42 x 8 x 8 x 24 float32, tiny_net, 3 classes)"
    with pytest.raises(OptionError, match=r"features of shape \(8, 8, 24\) do not fit into a table"):
        maps.to_frame()


@pytest.mark.slow
def test_a_frame_of_features_needs_pandas_and_says_so(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    found = run(images, backbone, tmp_path)
    if find_spec("pandas"):
        assert found.to_frame().shape == (42, 3 + 24)
    else:
        with pytest.raises(OptionError, match=r"pip install pandas, or use `features.array` and `features.labels`"):
            found.to_frame()


# Names on disk


@pytest.mark.slow
def test_spaces_and_keys_are_named_as_version_0_1_named_them(tmp_path: Path) -> None:
    """cache_names.json was made by that version: see make_cache_names.py. A change here makes caches worthless."""
    names = json.loads((HERE / "golden/cache_names.json").read_text())
    bert = str(hugging_face_folder(tmp_path / "bert", "bert"))
    texts = ["good film", "a very long and dull story " * 20, "the plot", "awful"]
    (tmp_path / "texts.csv").write_text(
        "text,label\n" + "".join(f"{text} {i},{'ab'[i % 2]}\n" for i in range(5) for text in texts))
    backbones = {name: replace(backbone, weights_hash="0" * 32) for name, backbone in {
        "images": tl.load_backbone("tiny_net", "none"),
        "images, inner layer": tl.load_backbone("tiny_net", "none", layer="block1"),
        "maps": tl.load_backbone("tiny_net", "none", pooling="none"),
        "texts": tl.load_backbone("bert_base", bert), "texts, cls": tl.load_backbone("bert_base", bert, pooling="cls"),
        "token states": tl.load_backbone("bert_base", bert, pooling="none", layer="layer_1"),
    }.items()}
    for name, backbone in backbones.items():
        for kind in ("float32", "bfloat16"):
            assert space_of(tmp_path, backbone, kind).key.name == names[name][kind]
    sources = {"images": tl.read_images(str(draw_folder(tmp_path / "images", 3)), min_per_class=0),
               "texts": tl.read_texts(str(tmp_path / "texts.csv"), min_per_class=0)}
    for name, examples in sources.items():
        backbone = backbones[name]
        features = tl.compute_features(tl.split(examples, "cv"), backbone, plain_runtime(), cache_dir=tmp_path)
        raw = with_raw(features).raw_space
        assert raw is not None and raw.key.name == names[f"{name}, raw inputs"]
        outputs = keras.layers.Dense(len(examples.classes))
        head = keras.Sequential([keras.Input(backbone.shape, name="features"), outputs])
        teacher = Teacher(tmp_path, {}, tl.splice(backbone, head), backbone.input, "1" * 32)
        before = set((tmp_path / "features").iterdir())
        logits = teacher_logits(teacher, examples, np.arange(2), tmp_path)
        new = {path.name for path in set((tmp_path / "features").iterdir()) - before}
        assert new == {names[f"{name}, teacher's logits"]} and logits.shape == (2, len(examples.classes))
    for long in ("head", "head+tail", "chunks"):
        source = replace(backbones["texts"].input, max_length=16, long=long)
        assert list(source.keys(["a" * 32, "b" * 32], texts[:2])) == names[f"keys of texts, {long}"]


# Runs that were stopped


STOPPED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import conftest  # brings the tiny backbone
import kerastl as tl
from kerastl.evaluation.image_histograms import ImageHistograms
from kerastl.features import fill
from kerastl.features.cache import Space
from tiny import plain_runtime, tiny_backbone
append = Space.append
def slowly(self, ids, rows):
    append(self, ids, rows)
    time.sleep(0.05)  # so that the kill comes before the end
Space.append, fill.SEGMENT_SECONDS = slowly, 0.0
examples = tl.split(tl.read_images(sys.argv[1]), "cv")
tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=Path(sys.argv[2]), batch_size=8)
print("ended")
"""


def segments(cache: Path) -> int:
    return len(list(cache.glob("features/*/*.ids.npy")))


def goes_on(folder: Path, backbone: Backbone, cache: Path) -> None:
    """A run after one that was stopped computes the rest only, and all rows are right."""
    kept = space_of(cache, backbone, "float32")
    before = sum(one in kept for one in tl.read_images(str(folder)).ids)
    assert 24 <= before < 300
    found = run(folder, backbone, cache)
    assert found.computed == 300 - before
    assert np.abs(everything(found) - direct(found, backbone)).max() < 1e-5


@pytest.mark.slow
def test_a_killed_pass_goes_on_from_where_it_was(backbone: Backbone, tmp_path: Path) -> None:
    folder, cache = draw_folder(tmp_path / "d", 100), tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(folder), str(cache), str(HERE)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while segments(cache) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and "ended" not in out, err
    goes_on(folder, backbone, cache)


@pytest.mark.slow
@pytest.mark.parametrize("stored", [True, False], ids=["after a segment", "before a segment"])
def test_ctrl_c_keeps_what_was_computed_and_leaves_nothing_half_done(stored: bool, backbone: Backbone, tmp_path: Path,
                                                                     monkeypatch) -> None:
    folder, cache, calls = draw_folder(tmp_path / "d", 100), tmp_path / "cache", []
    append = Space.append

    def pressed(self: Space, ids: Any, rows: Any) -> None:
        calls.append(len(ids))
        if len(calls) == 3 and not stored:
            signal.raise_signal(signal.SIGINT)
        append(self, ids, rows)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Space, "append", pressed)
    monkeypatch.setattr(fill, "SEGMENT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(folder, backbone, cache, batch_size=8)
    monkeypatch.undo()
    assert len(calls) == 4 and not list(cache.rglob("*.part"))  # the fourth stored what was at hand
    goes_on(folder, backbone, cache)


def test_colours_are_told_apart_by_these_features(backbone: Backbone, images: Path, tmp_path: Path) -> None:
    """The tests above would pass on rows that are all the same, but for this."""
    found = run(images, backbone, tmp_path)
    rows, y = everything(found), found.examples.targets
    centres = np.stack([rows[y == c].mean(axis=0) for c in range(len(COLOURS))])
    nearest = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == y).mean() > 0.9
