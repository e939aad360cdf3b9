"""Version folders of which a file was cut, changed, removed or replaced: each verb says so in one message, or does not
need the file and gives the right answer."""

import json
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
