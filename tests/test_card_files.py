"""The model card lists the files of the version: what each is for, its size, and how long it takes."""

import re
from pathlib import Path

import pytest

from kerastl.report.card_files import OTHER, PARTS, exported_section
from kerastl.versions.record import RunRecord
from kerastl.versions.reproduction import typed_command


def test_the_card_lists_every_file_with_its_size_and_purpose(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text()
    rows = re.findall(r"^\| (`.*`) \| (.*) \| (.*) \|$", card, re.MULTILINE)
    listed = {name: purpose for names, _, purpose in rows for name in re.findall(r"`([^`]+)`", names)}
    files = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    for name in files:
        assert any(name == one or (one.endswith("/") and name.startswith(one)) for one in listed), name
    assert OTHER not in listed.values() and all(listed.values())  # a new file needs an entry in PARTS
    for name in listed:
        assert (trained / name).exists(), name
    sizes = {names: size for names, size, _ in rows}
    size = (trained / "tflite/model_fp32.tflite").stat().st_size
    assert sizes["`tflite/model_fp32.tflite`"] == f"{size / 1e3:.1f} kB"
    record = RunRecord.read(trained)
    for part in record.parity:
        assert f"{part.kind} {part.milliseconds:.1f} ms" in card
    assert "batch size 1; median of 30" in card and str(record.machine["processor"]) in card
    assert re.search(r"Exported on 20\d\d-\d\d-\d\d \(UTC\) with kerastl .*tensorflow .*keras ", card)


def test_a_file_that_is_not_known_is_listed_too(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "new.bin").write_bytes(b"x" * 2000)
    section = exported_section(tmp_path, RunRecord.read(trained))
    assert f"| `new.bin` | 2.0 kB | {OTHER} |" in section and "`labels.txt`" not in section
    assert len({name for part in PARTS for name in part.names}) == sum(len(part.names) for part in PARTS)


@pytest.mark.parametrize(("words", "command"), [
    (["/home/alice/venv/bin/kerastl", "run", "x", "--data", "my photos"], "kerastl run x --data 'my photos'"),
    (["/usr/lib/python3/kerastl/__main__.py", "run", "x"], "kerastl run x"),
    (["/home/alice/recipes/mine.py", "--data", "x"], "python recipes/mine.py --data x"),
    (["/home/alice/train.py", "--password", "x"], ""), (["-c"], ""), ([], "")])
def test_the_command_is_recorded_without_the_path_of_the_program(words: list[str], command: str) -> None:
    assert typed_command(words) == command
