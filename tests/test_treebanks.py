"""A treebank where images or texts are expected: one message that says what takes it, from every verb."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import draw_folder

from kerastl.data.detection import modality_of
from kerastl.data.images import read_images
from kerastl.data.texts import read_texts
from kerastl.errors import DataError

Shell = Callable[..., tuple[int, str, str]]
SENTENCE = "# text = one\n1\tone\tone\tNUM\t_\t_\t0\troot\t_\t_\n\n"
IMAGES = ("--backbone", "tiny_net", "--weights", "none")


@pytest.fixture(scope="module")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Universal Dependencies publish one: with the sentences as text too, and a licence."""
    folder = tmp_path_factory.mktemp("treebanks") / "UD_X"
    folder.mkdir()
    for part in ("train", "dev", "test"):
        (folder / f"x_ud-{part}.conllu").write_text(SENTENCE * 3)
        (folder / f"x_ud-{part}.txt").write_text("one one one")
    for name in ("LICENSE.txt", "README.md", "stats.xml"):
        (folder / name).write_text("words")
    return folder


@pytest.fixture(params=["folder", "file", "parent"])
def source(request: pytest.FixtureRequest, treebank: Path) -> Path:
    return {"folder": treebank, "file": treebank / "x_ud-train.conllu", "parent": treebank.parent}[request.param]


def verbs(source: Path, trained: Path, images: Path, out: Path) -> list[tuple[str | Path, ...]]:
    """Every verb and kind of recipe that takes data."""
    run = ("--data", source, "--name", "m", "--out", out)
    return [
        ("check", source), ("compare", source, "--backbones", "tiny_net", "--weights", "none", "--out", out / "c"),
        ("curve", source), ("label-next", source, images, *IMAGES, "--out", out / "a.csv"),
        ("label-next", images, source, *IMAGES, "--out", out / "b.csv"), ("evaluate", trained, source),
        ("drift", trained, source), ("features", source, "--out", out / "f.npz", *IMAGES),
        ("doctor", trained, "--data", source), ("reproduce", trained, "--data", source),
        ("export", trained, "--new-version", "--data", source),
        ("run", "tiny_images", *run, "--weights", "none"), ("run", "minilm_text", *run),
        ("run", "few_shot_images", *run)]


@pytest.mark.slow
def test_every_verb_says_what_takes_a_treebank(treebank: Path, trained: Path, images: Path, shell: Shell, tmp_path: Path
                                               ) -> None:
    source = treebank
    for words in verbs(source, trained, images, tmp_path):
        code, out, err = shell(*words)
        assert code == 2 and not out and "Traceback" not in err, (words, err)
        assert f"{source} is a" in err and "tag_tokens" in err and "parse_dependencies" in err, (words, err)
    code, out, err = shell("verify", trained, "--data", source)  # whose data cannot be a treebank
    assert code == 2 and not out and f"{source} is a" in err and "new location" in err, err
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.slow
def test_a_prediction_on_a_treebank_has_this_reason(source: Path, trained: Path, shell: Shell) -> None:
    code, out, err = shell("predict", trained, source, "--json")
    assert code == 2 and "tag_tokens" in (out + err), (out, err)
    code, out, err = shell("explain", trained, source)
    assert code == 2 and "tag_tokens" in err, err


def test_texts_and_images_refuse_it_in_python(source: Path) -> None:
    for read in (read_texts, read_images, modality_of):
        with pytest.raises(DataError, match="is a.*treebank"):
            read(str(source))  # type: ignore[operator]


def test_a_file_beside_class_folders_and_another_ending_are_as_before(tmp_path: Path) -> None:
    draw_folder(tmp_path / "d", 4)
    (tmp_path / "d/notes.conll.md").write_text("words")
    assert len(read_images(str(tmp_path / "d"), min_per_class=2)) == 12
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": f"a {n}", "label": "ab"[n % 2]}) for n in range(8)))
    assert len(read_texts(str(tmp_path / "t.jsonl"), min_per_class=2)) == 8
