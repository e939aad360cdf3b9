"""The command as its users meet it: verbs, `--json`, and bad input: one message, exit code 2, nothing half-written."""

import csv
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import COLOURS, HERE, draw, draw_folder

import kerastl as tl

Shell = Callable[..., tuple[int, str, str]]
RUN = ("run", "tiny_images", "--weights", "none", "--tflite", "none")


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, one message on standard error that says what to change, no traceback, an empty standard output."""
    code, out, err = result
    assert code == 2 and out == ""
    assert err.count("error: ") == 1 and "Traceback" not in err
    assert "expected: " in err or "to fix: " in err or " must " in err
    for word in words:
        assert word in err, err


# Verbs


@pytest.mark.slow
def test_json_is_one_document_alone_on_standard_output(shell: Shell, images: Path, tmp_path: Path) -> None:
    code, out, _ = shell(*RUN, "--data", images, "--name", "m", "--out", tmp_path, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "m" / "1" / "run.json").read_text())


@pytest.mark.slow
def test_json_stays_alone_when_native_code_prints(trained: Path, images: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "kerastl.cli", "predict", str(trained), str(images), "--json"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 42


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "code"), [("<&-", 2), (">&-", 0), ("2>&-", 0)])
def test_closed_standard_streams_are_as_if_connected_to_nothing(closed: str, code: int, trained: Path, images: Path
                                                               ) -> None:
    image = next(images.rglob("*.png"))
    words = [sys.executable, "-m", "kerastl.cli", "predict", str(trained), "-" if code else str(image)]
    done = subprocess.run(["sh", "-c", f"{shlex.join(words)} {closed}"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and (not code or "the inputs are empty" in done.stderr)


@pytest.mark.slow
def test_a_recipe_run_as_a_script_is_the_same_call(images: Path, tmp_path: Path, dropped_in: Path) -> None:
    words = ["--data", str(images), "--name", "m", "--out", str(tmp_path), "--weights", "none", "--tflite", "none",
             "--limit", "36", "--json", "--backbone", str(HERE / "dropin/backbones/tiny_net.py")]
    script = dropped_in / "efficientnet_lite_images.py"
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_test"] == 36


@pytest.mark.slow
def test_predict_takes_files_folders_tables_and_paths_on_standard_input(shell: Shell, trained: Path, images: Path,
                                                                        tmp_path: Path, monkeypatch) -> None:
    import io

    listed = sorted((images / "red").glob("*.png"))[:3]
    table = tmp_path / "list.csv"
    table.write_text("path\n" + "".join(f"{path}\n" for path in listed))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{listed[0]}\n\n"))
    code, out, _ = shell("predict", trained, listed[0], images / "green", table, "-", "--json")
    answers = json.loads(out)["predictions"]
    assert code == 0 and len(answers) == 1 + 14 + 3 + 1
    assert answers[0] == answers[15] == answers[-1] and answers[0]["label"] == "red"


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_writes_tables_with_an_error_where_there_is_no_answer(ending: str, shell: Shell, trained: Path,
                                                                      images: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    good, out = next((images / "blue").glob("*.png")), tmp_path / f"answers.{ending}"
    code, text, _ = shell("predict", trained, good, bad, "--out", out)
    assert code == 0 and "(1 error)" in text
    if ending == "csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
    else:
        rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["label"] for row in rows] == ["blue", ""] and "not an image" in rows[1]["error"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bad.png", out.name])


@pytest.mark.slow
def test_evaluate_judges_new_data_and_says_when_they_are_not_new(shell: Shell, trained: Path, images: Path,
                                                                 tmp_path: Path) -> None:
    new = draw_folder(tmp_path / "new", 6, seed=777)
    draw(new / "purple" / "1.png", (160, 40, 160), 5)
    (new / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, _ = shell("evaluate", trained, new, "--json")
    found = json.loads(out)
    assert code == 0 and found["trained_on"] == 0 and found["test"]["n"] == 18
    assert {one["origin"] for one in found["left_out"]} == {"purple", "red/broken.png"}
    only_red = tmp_path / "red.csv"
    only_red.write_text("path,label\n" + "".join(f"{path},red\n" for path in (new / "red").glob("?.png")))
    code, out, _ = shell("evaluate", trained, only_red)
    assert code == 0 and re.search(r"macro F1   \d\.\d{3}  \(mean of the 1 of 3 classes with rows\)", out)
    assert re.search(r"^blue +-  +-  +-  +-  +-  +0$", out, re.MULTILINE)
    assert re.search(r"^red  +\d\.\d{3}", out, re.MULTILINE)
    direct = [one.label for one in tl.load(trained).predict(sorted((new / "red").glob("?.png")))]
    recall = next(one["recall"] for one in found["test"]["classes"] if one["name"] == "red")
    assert recall == pytest.approx(direct.count("red") / 6)
    code, out, _ = shell("evaluate", trained, images)
    assert code == 0 and "WARNING: 42 of these rows were used in training" in out


def test_features_are_written_in_input_order_with_ids(shell: Shell, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "plain", 3, {"one": (90, 90, 90)})
    found = {}
    for ending in ("npz", "parquet"):
        out = tmp_path / f"f.{ending}"
        code, text, err = shell("features", folder / "one", "--backbone", "tiny_net", "--weights", "none", "--out", out)
        assert code == 0 and "3 rows of 24 features" in text and "id, name, features" in text and "RANDOM" in text, err
        if ending == "npz":
            with np.load(out) as file:
                found[ending] = (file["names"].tolist(), file["ids"].tolist(), file["features"])
        else:
            rows = pyarrow.parquet.read_table(out).to_pylist()
            names, ids = [row["name"] for row in rows], [row["id"] for row in rows]
            found[ending] = (names, ids, np.array([row["features"] for row in rows]))
    assert found["npz"][0] == found["parquet"][0] == ["0.png", "1.png", "2.png"]
    assert found["npz"][1] == found["parquet"][1] and np.array_equal(found["npz"][2], found["parquet"][2])


def test_features_of_labelled_rows_come_with_their_labels(shell: Shell, images: Path, tmp_path: Path) -> None:
    words = ("--backbone", "tiny_net", "--weights", "none", "--json")
    code, out, err = shell("features", images, *words, "--out", tmp_path / "f.parquet")
    assert code == 0 and json.loads(out)["columns"] == ["id", "name", "label", "features"], err
    rows = pyarrow.parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert len(rows) == 42 and all(row["name"].split("/")[0] == row["label"] for row in rows)
    lines = [f"{path},{path.parent.name}" for path in sorted(images.rglob("*.png"))[::7]]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *lines]))
    code, out, err = shell("features", tmp_path / "table.csv", *words, "--out", tmp_path / "f.npz")
    assert code == 0, err
    with np.load(tmp_path / "f.npz") as file:
        assert file["labels"].tolist() == [line.split(",")[1] for line in lines]
        assert np.array_equal(file["features"][0], np.array(rows[0]["features"], np.float32))


@pytest.mark.slow
def test_check_finds_what_was_planted(shell: Shell, tmp_path: Path) -> None:
    root = tmp_path / "planted"
    for side, seed in (("train", 0), ("test", 50_000)):
        draw_folder(root / side, 12, seed=seed)
    (root / "train/red/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of an image")
    (root / "train/red/twin.png").write_bytes((root / "train/red/3.png").read_bytes())
    (root / "train/blue/liar.png").write_bytes((root / "train/green/5.png").read_bytes())
    (root / "test/red/leak.png").write_bytes((root / "train/red/7.png").read_bytes())
    draw(root / "train/green/odd.png", COLOURS["red"], 999)
    code, out, _ = shell("check", root, "--backbone", "tiny_net", "--weights", "none", "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["origin"] for one in found["left_out"]] == ["train/red/broken.jpg"]
    assert ["train/red/3.png", "train/red/twin.png"] in found["duplicates"] and len(found["duplicates"]) == 3
    assert found["conflicts"] == [["train/blue/liar.png (blue)", "train/green/5.png (green)"]]
    assert [one[0].split(" ")[0] for one in found["leaks"]] == ["test/red/leak.png"]
    assert "train/green/odd.png" in [one["origin"] for one in found["odd_labels"]]
    code, out, _ = shell("check", root, "--backbone", "none")
    assert code == 0 and "duplicates with different labels: 1" in out and "possible label errors: not requested" in out


@pytest.mark.slow
def test_export_writes_a_new_version_and_leaves_the_old(shell: Shell, trained: Path, tmp_path: Path) -> None:
    import shutil

    home = tmp_path / "models" / "tiny"
    shutil.copytree(trained, home / "1")
    before = {path: path.read_bytes() for path in (home / "1").rglob("*") if path.is_file()}
    code, out, err = shell("export", home, "--tflite", "fp16")
    assert code == 0 and "fp16" in out, err
    assert [path.name for path in (home / "2" / "tflite").glob("*.tflite")] == ["model_fp16.tflite"]
    assert before == {path: path.read_bytes() for path in (home / "1").rglob("*") if path.is_file()}
    code, out, _ = shell("verify", home)
    assert code == 0 and "files match the manifest" in out


@pytest.mark.slow
def test_verify_exits_with_1_when_a_file_changed_or_an_artifact_differs(shell: Shell, trained: Path, tmp_path: Path,
                                                                        monkeypatch) -> None:
    import shutil

    from kerastl.export import parity

    copy = tmp_path / "1"
    shutil.copytree(trained, copy)
    (copy / "labels.txt").write_text("a\nb\nc\n")
    code, _, err = shell("verify", copy)
    assert code == 1 and "labels.txt" in err
    monkeypatch.setitem(parity.LOGITS, "fp32", -1.0)
    code, out, _ = shell("verify", trained)
    assert code == 1 and "fp32" in out


@pytest.mark.slow
def test_verify_says_when_the_data_are_gone_and_finds_them_elsewhere(shell: Shell, tmp_path: Path) -> None:
    first = draw_folder(tmp_path / "first", 12)
    code, _, _ = shell(*RUN, "--data", first, "--name", "m", "--out", tmp_path / "out")
    assert code == 0
    first.rename(tmp_path / "second")
    refused(shell("verify", tmp_path / "out" / "m"), "no such file or folder")
    code, _, _ = shell("verify", tmp_path / "out" / "m", "--data", tmp_path / "second")
    assert code == 0


def test_the_cache_is_shown_limited_and_cleared(shell: Shell, images: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code, _, _ = shell("features", images, "--backbone", "tiny_net", "--weights", "none", "--out",
                       tmp_path / "f.npz", "--cache-dir", cache)
    (cache / "mine.txt").write_text("not kerastl's")
    code, out, _ = shell("cache", "--cache-dir", cache, "--json")
    spaces = json.loads(out)["spaces"]
    assert code == 0 and [one["rows"] for one in spaces] == [42]
    code, out, _ = shell("cache", "--cache-dir", cache, "--limit", "0")
    assert code == 0 and "freed" in out
    code, out, _ = shell("cache", "--cache-dir", cache, "--clear", "--json")
    assert code == 0 and json.loads(out)["spaces"] == []
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]


# Bad input


def test_a_path_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    refused(shell(*RUN, "--data", tmp_path / "nowhere", "--name", "m", "--out", tmp_path / "out"),
            "no such file or folder")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_classes_and_one_of_one_class(shell: Shell, tmp_path: Path) -> None:
    refused(shell(*RUN, "--data", tmp_path, "--name", "m", "--out", tmp_path / "out"), "no labelled images")
    draw_folder(tmp_path / "one", 12, {"lonely": (1, 2, 3)})
    refused(shell(*RUN, "--data", tmp_path / "one", "--name", "m", "--out", tmp_path / "out"), "lonely")


def test_too_few_rows_come_with_the_counts(shell: Shell, tmp_path: Path) -> None:
    draw_folder(tmp_path / "few", 4)
    refused(shell(*RUN, "--data", tmp_path / "few", "--name", "m", "--out", tmp_path / "out"), "red: 4",
            "add examples, or decrease")


@pytest.mark.slow
def test_an_empty_class_is_named_and_left_out(shell: Shell, tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 12)
    (root / "void").mkdir()
    code, out, _ = shell(*RUN, "--data", root, "--name", "m", "--out", tmp_path / "out", "--json")
    assert code == 0 and {"origin": "void", "reason": "class folder without files"} in json.loads(out)["left_out"]


@pytest.mark.slow
def test_hostile_class_and_file_names_are_shown_and_do_nothing(shell: Shell, tmp_path: Path) -> None:
    names = ["with space", "quote\"'s", "\U0001f600", "<script>alert(1)<", "{{ 7 * 7 }}"]
    root = tmp_path / "d"
    for c, name in enumerate(names):
        for i in range(12):
            draw(root / name / f"<b>{i}&.png", (40 * c, 200 - 30 * c, 90), 100 * c + i)
    code, out, err = shell(*RUN[:-1], "fp32", "--data", root, "--name", "<i> m", "--out", tmp_path / "out", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert run["classes"] == sorted(names)
    report = (tmp_path / "out" / "<i> m" / "1" / "report.html").read_text()
    assert "<script" not in report and "&lt;script&gt;alert(1)&lt;" in report and "<i>" not in report
    assert "{{ 7 * 7 }}" in report and "<b>0&" not in report
    code, out, _ = shell("predict", tmp_path / "out" / "<i> m", root / names[3], "--json")
    assert code == 0 and {one["label"] for one in json.loads(out)["predictions"]} <= set(names)


@pytest.mark.slow
def test_slashes_in_class_names_of_a_table_are_only_names(shell: Shell, tmp_path: Path) -> None:
    lines = ["path,label"]
    for c, name in enumerate(("a/b", "../c")):
        for i in range(12):
            draw(tmp_path / f"{c}_{i}.png", (200 * c, 90, 90), 50 * c + i)
            lines.append(f"{c}_{i}.png,{name}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    code, out, _ = shell(*RUN, "--data", tmp_path / "t.csv", "--name", "m", "--out", tmp_path / "out", "--json")
    assert code == 0 and json.loads(out)["classes"] == ["../c", "a/b"]


@pytest.mark.slow
def test_several_labels_a_image_train_export_and_answer(shell: Shell, tmp_path: Path) -> None:
    lines = []
    for i in range(60):
        warm, dark = i % 2, (i // 2) % 2
        draw(tmp_path / f"{i}.png", ((200, 80, 40) if warm else (40, 80, 200)) if not dark else
             ((90, 20, 5) if warm else (5, 20, 90)), i)
        lines.append(json.dumps({"path": f"{i}.png", "label": ["warm"] * warm + ["dark"] * dark}))
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    code, out, err = shell(*RUN[:-1], "fp32,int8", "--data", tmp_path / "t.jsonl", "--name", "m", "--out",
                           tmp_path / "out", "--json")
    assert code in (0, 1), err
    run = json.loads(out)
    assert run["multi_label"] and run["classes"] == ["dark", "warm"] and run["test"]["accuracy"] > 0.8
    labels = [one.label for one in tl.load(tmp_path / "out" / "m").predict([tmp_path / f"{i}.png" for i in range(4)])]
    assert labels == ["", "warm", "dark", "dark|warm"]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "words"), [
    (("--backbone", "resnet51"), ("resnet50",)), (("--head", "linaer"), ("linear",)),
    (("--precision", "float8"), ("float32",)), (("--xla", "maybe"), ("auto",)), (("--split", "random"), ("cv",)),
    (("--tflite", "int4"), ("int8",)), (("--label-smoothing", "2"), ("[0, 1)",)), (("--name", "a/b"), ("--name",)),
    (("--class-weights", "heavy"), ("balanced",)), (("--split", "cv", "--search", "1", "--head", "mlp"), ("holdout",)),
    (("--min-per-class", "5", "--split", "holdout", "--unfreeze", "9"), ("at most 2", "tiny_net")),
    (("--weights", "bundled", "--backbone", "resnet50"), ("imagenet",)), (("--weights", "nowhere.h5"), ("nowhere.h5",)),
])
def test_flags_that_cannot_be_are_refused_with_what_can(flags: tuple[str, ...], words: tuple[str, ...], shell: Shell,
                                                       tmp_path: Path) -> None:
    draw_folder(tmp_path / "d", 40 if "--unfreeze" in flags else 12)
    refused(shell(*RUN, "--data", tmp_path / "d", "--name", "m", "--out", tmp_path / "out", *flags), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_of_another_network_do_not_fit(shell: Shell, trained: Path, tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(tmp_path / "other.weights.h5")
    draw_folder(tmp_path / "d", 12)
    refused(shell("run", "resnet50_images", "--data", tmp_path / "d", "--name", "m", "--weights",
                  tmp_path / "other.weights.h5", "--out", tmp_path / "out"), "does not fit")


@pytest.mark.slow
def test_a_download_that_is_impossible_names_file_address_hash_and_ways_round(shell: Shell, tmp_path: Path,
                                                                              monkeypatch) -> None:
    from keras.src.utils import file_utils

    def no_network(*args: object, **kwargs: object) -> None:
        raise Exception("URL fetch failure on https://a/b.h5: None -- no network")  # as Keras raises it

    monkeypatch.setattr(file_utils, "get_file", no_network)
    for recipe, digest in (("inception_v3_images", "bcbd6486424b2319ff4ef7d526e38f63"),
                           ("resnet50_images", "4d473c1dd8becc155b73f8504c6f6626")):
        draw_folder(tmp_path / "d", 12)
        refused(shell("run", recipe, "--data", tmp_path / "d", "--name", "m", "--out", tmp_path / "out"),
                "https://storage.googleapis.com", "notop.h5", f"{digest}): no network", "as --weights",
                "efficientnet_lite0")


def test_verbs_recipes_and_models_that_are_not_there(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("predcit")
    assert code == 2 and "predict" in err
    code, _, err = shell("run", "resnet_images")
    assert code == 2 and "resnet50_images" in err
    (tmp_path / "mine.py").write_text("x = 1\n")
    code, _, err = shell("run", tmp_path / "mine.py")
    assert code == 2 and "Config" in err
    refused(shell("predict", tmp_path, "x.png"), "was not written by kerastl")
    refused(shell("verify", tmp_path / "nothing"), "no such model")
    assert shell()[0] == 2 and shell("--help")[0] == 0 and shell("run", "--help")[0] == 0


@pytest.mark.slow
def test_predict_on_nothing_that_decodes(shell: Shell, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    refused(shell("predict", trained, tmp_path / "a.png"), "not an image")
    refused(shell("predict", trained, tmp_path / "b.png"), "no such file")
    code, _, err = shell("predict", trained, tmp_path / "b.png", tmp_path / "a.png", tmp_path / "c.py")
    assert code == 2 and err.startswith("error: none of the 3 inputs has a prediction\n")
    assert all(name in err for name in ("a.png", "b.png", "c.py"))
    refused(shell("predict", trained, tmp_path / "a.png", "--out", tmp_path / "x.txt"), ".csv")
    refused(shell("predict", trained, tmp_path / "a.png", "--out", tmp_path / "no" / "x.csv"), "no folder")


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_closed_disk_is_one_message_and_nothing_is_left(number: int, shell: Shell, images: Path,
                                                                  tmp_path: Path, monkeypatch) -> None:
    from kerastl.export import export

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number), "labels.txt")

    monkeypatch.setattr(export, "write_split", full)
    refused(shell(*RUN, "--data", images, "--name", "m", "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_keeps_the_features_computed(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 700)
    cache = tmp_path / "cache"
    words = ["run", "efficientnet_lite_images", "--data", root, "--name", "m", "--out", tmp_path / "out", "--weights",
             "none", "--cache-dir", cache]
    process = subprocess.Popen([sys.executable, "-m", "kerastl.cli", *map(str, words)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(cache.glob("features/*/space.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(6)  # into the pass, which takes longer than that
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopped;" in err and "Traceback" not in err and out == ""
    assert not (tmp_path / "out").exists()
    assert not list(cache.rglob("*.part"))
