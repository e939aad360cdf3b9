"""Version folders of which a file was cut, changed, removed or replaced: each verb says so in one message, or does not
need the file and gives the right answer."""

import json
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Shell = Callable[..., tuple[int, str, str]]
Harm = Callable[[Path, random.Random], None]
USED = {  # by each verb; of other files it need not notice anything. `verify` and `export` compare all of them.
    "predict": ("run.json", "manifest.json", "saved_model.pb", "variables"),
    "evaluate": ("run.json", "manifest.json", "saved_model.pb", "variables", "split.csv"),
    "doctor": ("run.json", "model.keras")}


def cut(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:chance.randrange(path.stat().st_size)])


def flipped(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def removed(path: Path, chance: random.Random) -> None:
    path.unlink()


def a_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def a_link_out(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def emptied(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def another_document(path: Path, chance: random.Random) -> None:
    path.write_text("not JSON\n")


def a_list(path: Path, chance: random.Random) -> None:
    path.write_text("[]\n")


def other_hashes(path: Path, chance: random.Random) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "files": {name: "0" * 64 for name in manifest["files"]}}))


HARMS: tuple[Harm, ...] = (cut, flipped, removed, a_folder, a_link_out)
VERBS = ("predict", "evaluate", "verify", "export")
EVERY = "KERASTL_SOAK" in os.environ  # each harm to each file for each verb, instead of each pair once


def harmed(trained: Path, home: Path, used: tuple[str, ...], shift: int) -> Iterator[tuple[str, Path]]:
    """For each of the files a copy of the version in which it was harmed, by one harm after the other."""
    names = [str(path.relative_to(trained)) for path in sorted(trained.rglob("*")) if path.is_file()]
    names = [name for name in names if not used or name.partition("/")[0] in used]
    for number, name in enumerate(names):
        harm = HARMS[(number + shift) % len(HARMS)]
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(trained, home / "1")
        harm(home / "1" / name, random.Random(number))
        yield f"{name}, {harm.__name__}", home / "1"


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "shift"), [(verb, shift) for number, verb in enumerate(VERBS)
                                             for shift in range(len(HARMS)) if EVERY or number == shift])
def test_whatever_was_done_to_a_file_is_one_message(verb: str, shift: int, trained: Path, images: Path, tmp_path: Path,
                                                    shell: Shell) -> None:
    more = {"predict": [next(images.rglob("*.png"))], "evaluate": [images]}.get(verb, [])
    cache = [] if verb == "predict" else ["--cache-dir", tmp_path / "cache"]
    for case, folder in harmed(trained, tmp_path / "m", USED.get(verb, ()), shift):
        code, out, err = shell(verb, folder, *more, *cache)
        assert "Traceback" not in err, case
        if code == 0 and (case == "manifest.json, flipped" or (case == "run.json, flipped" and verb in USED)):
            continue  # a digit of a figure in run.json, which `verify` finds; or beside the hashes in the manifest
        assert code in ((1, 2) if verb == "verify" else (2,)), f"{case}: {code} {err}"
        assert out == "" and err.count("error: ") == 1, f"{case}: {err}"
        assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1"]  # nothing was exported


@pytest.mark.slow
def test_what_a_verb_does_not_use_does_not_change_its_answers(trained: Path, images: Path, tmp_path: Path,
                                                              shell: Shell) -> None:
    image = next(images.rglob("*.png"))
    _, out, _ = shell("predict", trained, image, "--json")
    shutil.copytree(trained, tmp_path / "1")
    for name in ("report.html", "MODEL_CARD.md", "labels.txt", "model.keras", "tflite/model_int8.tflite", "split.csv"):
        cut(tmp_path / "1" / name, random.Random(0))
    code, other, err = shell("predict", tmp_path / "1", image, "--json")
    assert code == 0 and json.loads(other)["predictions"] == json.loads(out)["predictions"], err


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_doctor_says_that_what_it_examines_is_damaged(harm: Harm, trained: Path, tmp_path: Path, shell: Shell) -> None:
    for name in USED["doctor"] if harm is not flipped else ("model.keras",):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        shutil.copytree(trained, tmp_path / "m/1")
        harm(tmp_path / "m/1" / name, random.Random(1))
        code, out, err = shell("doctor", tmp_path / "m", "--cache-dir", tmp_path / "cache")
        assert code == 2 and out == "" and err.count("error: ") == 1 and "Traceback" not in err, f"{name}: {err}"


VARIABLES, INDEX, TFLITE = "variables/variables.data-00000-of-00001", "variables/variables.index", \
    "tflite/model_fp32.tflite"
RECORDS: tuple[tuple[str, Harm], ...] = (
    ("run.json", another_document), ("run.json", a_list), ("run.json", removed), ("manifest.json", removed))
MANIFEST: tuple[tuple[str, Harm], ...] = (("manifest.json", another_document), ("manifest.json", a_list))
GRAPH: tuple[tuple[str, Harm], ...] = (
    ("saved_model.pb", emptied), ("saved_model.pb", cut), ("saved_model.pb", removed))
WEIGHTS: tuple[tuple[str, Harm], ...] = (
    (VARIABLES, cut), (VARIABLES, emptied), (VARIABLES, removed), (INDEX, cut), (INDEX, removed))
KERAS: tuple[tuple[str, Harm], ...] = (("model.keras", cut), ("model.keras", removed))
ROWS: tuple[tuple[str, Harm], ...] = (("split.csv", emptied), ("split.csv", removed))
LITE: tuple[tuple[str, Harm], ...] = ((TFLITE, cut), (TFLITE, emptied), (TFLITE, removed))
OTHER: tuple[tuple[str, Harm], ...] = (("manifest.json", other_hashes),)
WHOLE = (*RECORDS, *MANIFEST, *GRAPH, *WEIGHTS, *KERAS, *ROWS, *LITE, *OTHER)
TABLE: dict[str, tuple[tuple[str, Harm], ...]] = {  # what each verb reads; `label-next` reads no version
    "predict": (*RECORDS, *MANIFEST, *GRAPH, *WEIGHTS, *OTHER),
    "evaluate": (*RECORDS, *MANIFEST, *GRAPH, *WEIGHTS, *ROWS, *OTHER),
    "explain": (*RECORDS, *MANIFEST, *KERAS, *OTHER),
    "drift": (*RECORDS, *MANIFEST, *GRAPH, *WEIGHTS, ("reference.npz", cut), ("reference.npz", removed), *OTHER),
    "doctor": (*RECORDS, *KERAS),
    "serve": (*RECORDS, *MANIFEST, *GRAPH, *WEIGHTS, ("assets.extra/tf_serving_warmup_requests", cut), *OTHER),
    "reproduce": WHOLE, "export": WHOLE, "export --out": WHOLE, "verify": WHOLE,
    "export --metadata": (*RECORDS, *MANIFEST, *LITE, *OTHER),
    "models": (*RECORDS, *MANIFEST, ("saved_model.pb", removed), (VARIABLES, removed), (TFLITE, removed)),
}
LOADS = (VARIABLES, INDEX)  # only TensorFlow's loader meets these, after seconds
CASES = [pytest.param(verb, name, harm, id=f"{verb}: {name} {harm.__name__}",
                      marks=[pytest.mark.slow] * (name in LOADS or (verb == "evaluate" and name == "split.csv")))
         for verb, cases in TABLE.items() for name, harm in cases]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "name", "harm"), CASES)
def test_every_verb_that_opens_a_version_points_to_verify(verb: str, name: str, harm: Harm, trained: Path, images: Path,
                                                          tmp_path: Path, shell: Shell,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("kerastl.serve"), "handlers", [])  # they hold the last test's standard error
    folder = tmp_path / "m" / "1"
    shutil.copytree(trained, folder)
    harm(folder / name, random.Random(1))
    before = sorted(path for path in tmp_path.rglob("*"))
    image, cache = next(images.rglob("*.png")), ["--cache-dir", tmp_path / "cache"]
    words = {
        "predict": ["predict", folder, image], "evaluate": ["evaluate", folder, images, *cache],
        "explain": ["explain", folder, image], "drift": ["drift", folder, images],
        "doctor": ["doctor", folder, *cache], "serve": ["serve", folder, "--port", 0, "--rest-api-port", 1],
        "reproduce": ["reproduce", folder], "export": ["export", folder, *cache],
        "export --out": ["export", folder, "--tflite", "fp32", "--out", tmp_path / "phone", *cache],
        "export --metadata": ["export", folder, "--metadata", tmp_path / "phone.tflite"],
        "verify": ["verify", folder, *cache], "models": ["models", folder.parent]}[verb]
    code, out, err = shell(*words)
    message = " ".join((out if verb == "models" else err).split())
    assert code == {"models": 0, "verify": 1}.get(verb, 2), err
    assert "Traceback" not in err and "sstable" not in message
    if verb == "models":
        assert not err and "is damaged" in message
    else:
        assert out == "" and err.count("error: ") == 1
    if verb == "verify":
        assert "since it was written" in message or "is damaged" in message
        assert "copy the version folder again" in message
    else:
        assert "list the damage with `kerastl verify`" in message
    after = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    assert after == before  # nothing was written
