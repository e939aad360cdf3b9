"""Columns for many rows: what they hold is what a tuple or a dictionary would hold, in a tenth of the memory."""

import gc
import hashlib
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import KEY, content_id, known_rows, made_examples

from kerastl.compact import Codes, Hashes, Places
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, lowest
from kerastl.data.images import read_images
from kerastl.data.rows import Row, examples_of
from kerastl.data.split import parts_by_hash, split_by_hash
from kerastl.data.spool import Spool
from kerastl.data.texts import read_texts
from kerastl.features.cache import Space
from kerastl.features.fill import missing
from kerastl.modality import TEXT
from kerastl.versions.restore import read_split, write_split

quick = settings(derandomize=True, deadline=None, database=None, max_examples=60)
# Hashes that begin alike, and equal ones
HEX = st.builds("{}{}".format, st.sampled_from(["0" * 16, "7f" * 8, "80" + "0" * 14, "f" * 16]),
                st.sampled_from(["0" * 16, "0" * 15 + "1", "8" + "0" * 15, "f" * 16])) | st.integers(0, 2**128 - 1).map(
    "{:032x}".format)


@quick
@given(st.lists(HEX, max_size=30))
def test_hashes_are_ordered_and_numbered_as_their_texts_are(texts: list[str]) -> None:
    column = Hashes.of(texts)
    assert column == tuple(texts) and list(column) == texts and column[:2] == texts[:2]
    assert column.order().tolist() == sorted(range(len(texts)), key=texts.__getitem__)
    assert column.first_of_each().tolist() == [row for row, text in enumerate(texts) if text not in texts[:row]]
    distinct = sorted(set(texts))
    assert column.numbers().tolist() == [distinct.index(text) for text in texts]
    assert lowest(texts, np.arange(len(texts))[::-1], 3).tolist() == [
        len(texts) - 1 - place for place in sorted(range(len(texts)), key=lambda i: texts[::-1][i])[:3]]


@quick
@given(st.lists(st.lists(HEX, max_size=8), max_size=8), st.lists(HEX, max_size=10))
def test_places_are_those_of_a_dictionary_whatever_is_added_when(parts: list[list[str]], others: list[str]) -> None:
    places, known, count = Places(), dict[str, int](), 0
    for part in parts:
        places.add(Hashes.of(part), np.arange(count, count + len(part)))
        known.update(zip(part, range(count, count + len(part)), strict=True))
        count += len(part)
        wanted = [*others, *known]
        assert places.find(Hashes.of(wanted)).tolist() == [known.get(text, -1) for text in wanted]


def test_what_is_no_hash_is_refused() -> None:
    for texts in (["ab"], ["0" * 32, "0" * 30, "0" * 34], ["z" * 32]):
        with pytest.raises(ValueError):
            Hashes.of(texts)


def test_codes_and_spools_equal_the_sequences_that_they_hold() -> None:
    texts = random.Random(0).choices(["", "train", "test", "é"], k=1000)
    column = Codes.of(texts)
    assert column == texts and texts == column and column != texts[1:] and column != ["x"] * 1000
    assert column.count("test") == texts.count("test") and column.count("x") == 0 and column.codes.nbytes == 1000
    rows = np.array([7, 7, 3, 999])
    assert column.take(rows) == [texts[row] for row in rows]
    assert Codes(tuple(map(str, range(300))), np.arange(300)).codes.dtype == np.uint16


def test_a_spool_is_read_in_any_order_from_memory_and_from_its_file(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.data.spool.BUFFER", 5000)  # so that some texts are in the file, and the last in memory
    monkeypatch.setattr("kerastl.data.spool.TOGETHER", 7)
    texts = [str(i) * (i % 50) for i in range(1003)]
    spool = Spool[str](tmp_path)
    for text in texts:
        spool.append(text)
    assert spool._file is not None and spool._tail
    assert list(spool) == texts and [spool[row] for row in range(-3, 3)] == [texts[row] for row in range(-3, 3)]
    rows = np.random.default_rng(0).permutation(len(texts))
    assert list(spool.take(rows)) == [texts[row] for row in rows]
    few = Spool[str](tmp_path / "never made")
    few.append("in memory")
    assert few.take(np.array([0, 0])) == ["in memory"] * 2 and not (tmp_path / "never made").exists()


def table_of(folder: Path, rows: int) -> Path:
    path = folder / "t.csv"
    path.write_text("text,label\n" + "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(rows)))
    return path


def kept_by(make: Any) -> tuple[Any, int]:
    """What a function returns, and the bytes that it still holds afterwards."""
    gc.collect()
    tracemalloc.start()
    try:
        result = make()
        gc.collect()
        return result, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


FIXED = 2_200_000  # bytes: of the last megabyte of two spools


@pytest.mark.slow
def test_texts_their_split_and_their_place_in_the_cache_take_under_a_hundred_bytes_each(tmp_path: Path) -> None:
    n = 20_000
    few, path = table_of(tmp_path, 100), tmp_path / "many.csv"
    read_texts(few, cache_dir=tmp_path)  # what is imported late
    path.write_bytes(table_of(tmp_path, n).read_bytes())

    def make() -> tuple[Examples, Space]:
        examples = split_by_hash(read_texts(path, cache_dir=tmp_path))
        return examples, Space(tmp_path, KEY)

    space = Space(tmp_path, KEY)
    ids = read_texts(path, cache_dir=tmp_path).ids
    space.append(ids, known_rows(list(ids)))
    (examples, again), kept = kept_by(make)
    in_memory = sum(len(column._tail) for column in (examples.items, examples.origins) if isinstance(column, Spool))
    assert in_memory < FIXED
    assert (kept - in_memory) / n < 100
    assert not len(missing(again, examples.ids, range(n))) and len(examples) == n


@pytest.mark.slow
def test_images_take_as_little(tmp_path: Path) -> None:
    for i in range(2000):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(b"%d" % i)
    read_images(tmp_path / "data", limit=20)
    examples, kept = kept_by(lambda: read_images(tmp_path / "data"))
    in_memory = sum(len(column._tail) for column in (examples.items, examples.origins) if isinstance(column, Spool))
    assert 0 < in_memory and (kept - in_memory - 20_000) / 2000 < 100  # 20 KB: what does not grow with the rows
    assert [Path(item).read_bytes() for item in examples.items[:3]] == [b"0", b"10", b"100"]
    assert examples.ids[0] == hashlib.blake2b(b"0", digest_size=16).hexdigest()


def part_of(group: str) -> int:
    """The published rule: the hash of the group as a fraction; the first tenth is for testing, the next validates."""
    position = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big") / 2**64
    return TEST if position < 0.1 else VALIDATION if position < 0.2 else TRAIN


def test_a_row_is_in_the_part_that_its_hash_says(tmp_path: Path) -> None:
    examples = read_texts(table_of(tmp_path, 3000), cache_dir=tmp_path)
    made = split_by_hash(examples).split
    assert made is not None and made.part.tolist() == [part_of(group) for group in examples.groups]
    assert parts_by_hash(["a", "é", "", "b" * 99]).tolist() == [part_of(group) for group in ("a", "é", "", "b" * 99)]


GROUPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "A", "B", "C", "D"])), min_size=1, max_size=12)


@quick
@given(GROUPS)
def test_groups_that_share_a_content_are_one_under_the_first_of_their_names(rows: list[tuple[int, str]]) -> None:
    def stream() -> Any:
        for number, (content, group) in enumerate(rows):
            yield Row(f"row {number}", str(content), (str(number % 2),), group), bytes.fromhex(content_id(content))

    from kerastl.data.examples import SkippedRows

    examples = examples_of(TEXT, "made up", stream(), SkippedRows(), 0, [])
    assert examples.groups == joined_one_by_one(rows)
    assert examples.items == [str(content) for content, _ in rows]


def joined_one_by_one(rows: Sequence[tuple[int, str]]) -> list[str]:
    """Each set of groups and contents that rows connect, named after the first of its groups."""
    sets: list[tuple[set[int], set[str]]] = []
    for content, group in rows:
        mine: tuple[set[int], set[str]] = ({content}, {group} - {""})
        for other in [other for other in sets if other[0] & mine[0] or other[1] & mine[1]]:
            sets.remove(other)
            mine = mine[0] | other[0], mine[1] | other[1]
        sets.append(mine)
    of_content = {content: min(groups, default=content_id(content)) for contents, groups in sets
                  for content in contents}
    return [of_content[content] for content, _ in rows]


def test_a_split_is_written_sorted_and_read_back(tmp_path: Path) -> None:
    examples = split_by_hash(made_examples(np.arange(200) % 2))
    examples = examples.take(np.append(np.random.default_rng(0).permutation(200), [3, 5]))  # two contents twice
    write_split(tmp_path, examples)
    lines = [line.split(",") for line in (tmp_path / "split.csv").read_text().splitlines()]
    names = split_names(examples)
    assert lines == [["id", "part", "name"], *sorted(map(list, zip(
        examples.ids, names, examples.origins, strict=True)))]
    parts = read_split(tmp_path)
    assert dict(parts) == dict(zip(examples.ids, names, strict=True)) and len(parts) == 200
    assert parts.of([content_id("new"), examples.ids[0]], "nowhere") == ["nowhere", names[0]]
    some = [content_id("new"), *examples.ids]
    assert parts.of(some, "test").count("test") == 1 + names.count("test") > 1
    assert parts.get("no hash") is None and content_id("new") not in parts


def split_names(examples: Examples) -> Sequence[str]:
    assert examples.split is not None
    return examples.split.names


def test_more_segments_than_may_be_open_are_read_and_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                  ) -> None:
    monkeypatch.setattr("kerastl.features.cache.MOST_MAPPED", 3)
    space, ids = Space(tmp_path, KEY), [content_id(i) for i in range(60)]
    for start in range(0, 60, 4):
        space.append(ids[start:start + 4], known_rows(ids[start:start + 4]))
    asked = random.Random(0).choices(ids, k=200)
    for reader in (space, Space(tmp_path, KEY)):
        assert np.array_equal(reader.gather(asked), known_rows(asked)) and len(reader._mapped) == 3
    some = Space(tmp_path, KEY)
    for path in some.folder.glob("*.npy"):
        path.unlink()
    from kerastl.errors import DataError

    with pytest.raises(DataError, match="was removed while"):
        some.gather(ids)
