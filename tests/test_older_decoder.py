"""Versions whose graph decodes some files otherwise than this code: they use their own graph, and verify allows for it.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import COLOURS, draw, draw_folder

import kerastl as tl
from kerastl.export.verify import verify
from kerastl.files import file_sha256
from kerastl.inputs import images as decoding
from kerastl.report.reexport import export_again

Shell = Callable[..., tuple[int, str, str]]
FIRST_FRAME = decoding.first_frame


def other_colours(content: tf.Tensor) -> tf.Tensor:
    """What an older decoder may make of a GIF: the channels are in another order."""
    return tf.roll(FIRST_FRAME(content), 1, axis=-1)


def rewrite(version: Path, decoder: int | None) -> None:
    """Change the decoder of a record; None: as versions have it that were exported before there were several."""
    record = json.loads((version / "run.json").read_text())
    record["input"] = {"size": record["input"]["size"]} | ({} if decoder is None else {"decoder": decoder})
    (version / "run.json").write_text(json.dumps(record))
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["run.json"] = file_sha256(version / "run.json")
    (version / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """PNGs and GIFs, which show the colour of their class to the older decoder only."""
    folder = draw_folder(tmp_path / "data", 12)
    for c, (name, (red, green, blue)) in enumerate(COLOURS.items()):
        for i in range(12):
            draw(folder / name / f"{i}.gif", (green, blue, red), 1000 * c + i)
    return folder


@pytest.fixture
def old(data: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A version that was exported with the older decoder."""
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "first_frame", other_colours)
        decoding.original_size.cache_clear()
        decoding.decoder.cache_clear()
        code, _, err = shell("run", "tiny_images", "--data", data, "--name", "m", "--out", tmp_path, "--weights",
                             "none", "--tflite", "none", "--cache-dir", tmp_path / "old_cache")
    decoding.original_size.cache_clear()
    decoding.decoder.cache_clear()
    assert code == 0, err
    rewrite(tmp_path / "m/1", None)
    yield tmp_path / "m/1"


@pytest.mark.slow
def test_a_version_decodes_with_its_own_graph_and_verify_allows_for_it(old: Path, data: Path, tmp_path: Path,
                                                                      shell: Shell) -> None:
    cache = str(tmp_path / "cache")
    gifs = sorted(data.rglob("*.gif"))
    classes = [path.parent.name for path in gifs]
    assert [prediction.label for prediction in tl.load(old).predict(gifs)] == classes
    result = verify(str(old), cache_dir=cache)
    assert not result.failed and result.rows == 72
    assert result.notes[0].startswith("36 of 72 images are of formats that are decoded otherwise")
    code, out, _ = shell("verify", old, "--cache-dir", cache)
    assert code == 0 and "note: 36 of 72 images" in out
    again = export_again(str(old), "none", cache_dir=cache)  # with the decoder of this code, on both sides
    assert again.version == 2 and again.input["decoder"] > 3
    result = verify(again.path, cache_dir=cache)
    assert not result.failed and result.notes == ()
    now = [prediction.label for prediction in tl.load(again.path).predict(gifs)]
    assert sum(label == name for label, name in zip(now, classes, strict=True)) < 6
    rewrite(old, again.input["decoder"])  # as if this code had exported that graph
    assert verify(str(old), cache_dir=cache).breaches == ("saved_model",)
