"""The TFLite file for MediaPipe: one output, metadata, and the labels in an archive behind the model. MediaPipe itself
is not a dependency; by hand, its version 1.2.3 gave 51 of 51 images the label that `kerastl predict` gives."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import kerastl as tl
from kerastl.export.mediapipe import write_mediapipe
from kerastl.export.tflite import Interpreter

Shell = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_the_file_has_one_output_the_labels_and_metadata(trained: Path, tmp_path: Path, kind: str) -> None:
    written = write_mediapipe(str(trained), tmp_path / "m.tflite", kind)
    content = (tmp_path / "m.tflite").read_bytes()
    assert written.bytes == len(content) and written.labels == 3
    labels = zipfile.ZipFile(io.BytesIO(content)).read("labels.txt").decode()
    assert labels == (trained / "labels.txt").read_text()
    model = schema.Model.GetRootAs(content, 0)
    metadata = model.Metadata(model.MetadataLength() - 1)
    buffer = model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes()
    assert metadata.Name() == b"TFLITE_METADATA" and buffer[4:8] == b"M001" and b"labels.txt" in buffer
    own = Interpreter((trained / "tflite" / f"model_{kind}.tflite").read_bytes())
    side = json.loads((trained / "run.json").read_text())["input"]["size"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.uint8)
    answers = Interpreter(content)(pixels)
    assert {*answers} == {"probabilities"}
    assert np.allclose(answers["probabilities"], own(pixels)["probabilities"], atol=1e-6)


def test_a_kind_that_is_not_there_is_refused_and_the_verb_writes_one_file(trained: Path, tmp_path: Path, shell: Shell
                                                                          ) -> None:
    with pytest.raises(tl.OptionError, match="no TFLite file of the kind 'fp64'"):
        write_mediapipe(str(trained), tmp_path / "m.tflite", "fp64")
    assert not list(tmp_path.iterdir())
    code, out, _ = shell("export", str(trained), "--metadata", str(tmp_path / "m.tflite"))
    assert code == 0 and "3 labels" in out and (tmp_path / "m.tflite").exists()
    assert sorted(path.name for path in trained.parent.iterdir() if path.name.isdigit()) == ["1"]
