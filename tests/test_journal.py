"""The journal of a study: what was finished is read back, what was not is done again, and keys tell work apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from kerastl.studies.journal import Journal, work_key


def test_work_is_done_once_and_only_requested_records_count_as_resumed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl")
    first = journal.once("a", lambda: {"ends": (1, 2)})
    assert first == {"key": "a", "ends": [1, 2]}  # as it will be read: JSON has no tuples
    assert journal.get("b") is None and journal.resumed == 0
    journal.add("b", {"n": 1})
    again = Journal(journal.path)
    assert again.once("a", lambda: pytest.fail("the journal has it")) == first
    assert again.get("c") is None and again.resumed == 1
    assert [json.loads(line)["key"] for line in journal.path.read_text().splitlines()] == ["a", "b"]


def test_a_line_torn_inside_a_character_and_lines_of_other_programs_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path).add("é", {"n": 1})
    with path.open("ab") as file:
        file.write('{"no key": 1}\n[1]\n{"key": "b", "name": "é'.encode()[:-1])  # killed within é
    journal = Journal(path)
    assert journal.get("é") == {"key": "é", "n": 1} and journal.get("b") is None
    journal.add("b", {"n": 2})
    assert Journal(path).get("b") == {"key": "b", "n": 2}


def test_a_key_is_that_of_values_arrays_shapes_and_types_and_of_no_order_of_names() -> None:
    a, b = np.arange(6, dtype=np.int64), np.ones(3, np.int8)
    key = work_key(["x", {"one": 1, "two": 2}], a, b)
    assert key == work_key(["x", {"two": 2, "one": 1}], a.copy(), b) and len(key) == 32
    others = [work_key(["y", {"one": 1, "two": 2}], a, b), work_key(["x", {"one": 1, "two": 2}], a + 1, b),
              work_key(["x", {"one": 1, "two": 2}], a, b * 2),
              work_key(["x", {"one": 1, "two": 2}], a.reshape(2, 3), b),
              work_key(["x", {"one": 1, "two": 2}], a.view(np.uint64), b)]
    assert len({key, *others}) == 6
