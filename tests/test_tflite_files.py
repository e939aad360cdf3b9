"""`export --out`: TFLite files in a folder of their own, complete or absent, and no new version of the model."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kerastl as tl
from kerastl.export import parity
from kerastl.export.tflite_files import export_tflite
from kerastl.versions.record import RunRecord

Shell = Callable[..., tuple[int, str, str]]


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest, after every file was compared with it."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"}
    assert manifest["files"] == files
    return manifest


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the version, without any data that it could read."""
    folder = shutil.copytree(trained, tmp_path / "models/tiny/1")
    record = RunRecord.read(folder)
    replace(record, config={**record.config, "data": str(tmp_path / "gone")}).write(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["run.json"] = hashlib.sha256((folder / "run.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_file_that_the_version_has_is_copied_without_the_data(model: Path, tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "phone").mkdir()  # empty
    code, out, err = shell("export", model, "--tflite", "int8", "--out", tmp_path / "phone")
    assert code == 0 and "no new version" in out and "copied     int8" in out, err
    folder = tmp_path / "phone"
    manifest = manifest_of(folder)
    assert {*manifest["files"]} >= {"model_int8.tflite", "labels.txt", "classify_image.py", "test_vectors/vectors.json"}
    assert "model_fp32.tflite" not in manifest["files"] and manifest["copied"] == ["int8"]
    record = RunRecord.read(model)
    assert manifest["labels"] == list(record.classes) and manifest["packages"]["tensorflow"]
    assert manifest["parity"] == [part.to_dict() for part in record.parity if part.kind == "int8"]
    source = manifest["source"]
    assert (source["name"], source["version"], source["weights_hash"]) == ("tiny", 1, record.weights_hash)
    assert source["manifest_sha256"] == hashlib.sha256((model / "manifest.json").read_bytes()).hexdigest()
    side = record.input["size"]
    assert manifest["signatures"]["model_int8.tflite"]["inputs"] == {"images": {"shape": [1, side, side, 3],
                                                                                "type": "uint8"}}
    assert manifest["signatures"]["model_int8.tflite"]["outputs"]["probabilities"] == {"shape": [1, 3],
                                                                                       "type": "float32"}
    assert (folder / "model_int8.tflite").read_bytes() == (model / "tflite/model_int8.tflite").read_bytes()
    vectors = json.loads((folder / "test_vectors/vectors.json").read_text())["vectors"]
    assert all({*vector["probabilities"]} == {"int8"} for vector in vectors)
    assert [path.name for path in model.parent.iterdir()] == ["1"]
    code, out, err = shell("verify", folder)
    assert code == 0 and "TFLite files of tiny, version 1" in out, err
    code, _, err = shell("predict", folder, folder / "test_vectors/wide.png")
    assert code == 2 and "holds TFLite files" in err
    for harm in (lambda path: path.write_bytes(path.read_bytes()[:1000]), Path.unlink):
        harm(folder / "model_int8.tflite")
        code, _, err = shell("verify", folder)
        assert code == 1 and "model_int8.tflite" in err and err.count("error: ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "phone"]


def test_a_file_for_mediapipe_lies_there_under_its_own_name(model: Path, tmp_path: Path, shell: Shell) -> None:
    code, out, err = shell("export", model, "--metadata", "m.tflite", "--out", tmp_path / "phone", "--json")
    assert code == 0 and json.loads(out)["kinds"] == ["fp32"], err
    manifest = manifest_of(tmp_path / "phone")
    assert {"m.tflite", "labels.txt"} <= {*manifest["files"]} and "model_fp32.tflite" not in manifest["files"]
    assert [*manifest["signatures"]["m.tflite"]["outputs"]] == ["probabilities"]


def test_what_cannot_be_written_leaves_nothing(model: Path, trained: Path, tmp_path: Path, shell: Shell,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (model / "tflite/model_fp16.tflite").unlink()
    before = sorted(tmp_path.rglob("*"))
    for words, message in (
            (["--tflite", "fp32", "--out", tmp_path / "full"], "which exists"),
            (["--tflite", "fp32", "--out", tmp_path / "full/file"], "which exists"),
            (["--tflite", "fp32", "--out", tmp_path / "no/folder"], "there is no folder"),
            (["--tflite", "fp32", "--out", model / "phone"], "the model's own folder"),
            (["--tflite", "fp32", "--out", model.parent / "2"], "the model's own folder"),
            (["--tflite", "none", "--out", tmp_path / "x"], "nothing would be written"),
            (["--tflite", "fp64", "--out", tmp_path / "x"], "there is no fp64"),
            (["--tflite", "fp32", "--out", tmp_path / "x", "--new-version"], "--new-version and --out are both set"),
            (["--metadata", tmp_path / "x/m.tflite", "--out", tmp_path / "x"], "the name of a .tflite file"),
            (["--metadata", "m.tflite", "--tflite", "fp32,int8", "--out", tmp_path / "x"], "names 2 kinds"),
            (["--tflite", "fp16", "--out", tmp_path / "x"], "model_fp16.tflite")):
        code, out, err = shell("export", model, *words)
        assert code == 2 and out == "" and message in err and err.count("error: ") == 1, err
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr("kerastl.export.test_vectors.write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export_tflite(str(trained), tmp_path / "x", "fp32")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_another_kind_is_converted_and_compared(trained: Path, images: Path, tmp_path: Path, shell: Shell,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "tiny/1")
    code, _, err = shell("export", tmp_path / "tiny", "--tflite", "fp32", "--new-version")
    assert code == 0 and "a new version is written" not in err
    result = tl.export_tflite(str(tmp_path / "tiny"), tmp_path / "phone", "fp32,fp16", data=str(images))
    assert result.copied == ("fp32",) and result.kinds == ("fp32", "fp16") and not result.failed
    assert [part.kind for part in result.parity] == ["fp32", "fp16"] and result.parity[1].rows == 42
    assert {"model_fp32.tflite", "model_fp16.tflite"} <= {*manifest_of(tmp_path / "phone")["files"]}
    monkeypatch.setitem(parity.RELATIVE, "fp16", -1.0)
    code, out, err = shell("export", tmp_path / "tiny", "--tflite", "fp32,fp16", "--out", tmp_path / "one")
    assert code == 1 and "fp16: not written" in err and "NOT WRITTEN" in out
    assert manifest_of(tmp_path / "one")["tflite"] == ["fp32"]
    code, _, err = shell("export", tmp_path / "tiny", "--tflite", "fp16", "--out", tmp_path / "none")
    assert code == 1 and err.count("error: ") == 1 and not (tmp_path / "none").exists()
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [".next", "1", "2"]
