"""The search for near-duplicates among examples, and what it changes in a split."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.compact import Codes, Hashes
from kerastl.data.examples import EXAMPLES, PARTS, Examples, SkippedRows, enough
from kerastl.data.near_duplicates.contents import Contents
from kerastl.data.near_duplicates.groups import Grouping, grouped
from kerastl.data.near_duplicates.record import (
    GROUP,
    OFF,
    REPORT,
    NearDuplicatePair,
    NearDuplicates,
    NearDuplicateSearch,
)
from kerastl.errors import OptionError, expect

MODES = ("auto", GROUP, REPORT, OFF)
MANY = 1_000_000  # rows from which near-duplicates are by default only reported


def find_near_duplicates(examples: Examples, near_duplicates: str = "auto", *, mirrored: bool = False,
                         cache_dir: str | Path | None = None) -> Examples:
    """Search for near-duplicates by content alone. The result is part of the examples that are returned.

    near_duplicates: `group` keeps them on one side of the split, united with the groups; `report` only counts them;
    `off` does not search; `auto` is `group`, and `report` from a million rows on. mirrored: whether mirror images are
    near-duplicates. cache_dir: the folder of a temporary file. Raises OptionError for another mode.
    """
    expect(Examples, EXAMPLES, examples=examples)
    if near_duplicates not in MODES:
        raise OptionError(f"`near_duplicates` is {near_duplicates}", f"one of {', '.join(MODES)}",
                          "omit `near_duplicates` for auto")
    if mirrored and not examples.modality.in_files:
        raise OptionError(f"`mirrored` is set, but the source contains {examples.modality.nouns}", "a source of images",
                          "omit `mirrored`")
    mode = near_duplicates if near_duplicates != "auto" else GROUP if len(examples) < MANY else REPORT
    if mode == OFF:
        return replace(examples, near_duplicates=None, near_duplicate_search=NearDuplicateSearch(NearDuplicates(OFF)))
    start = time.perf_counter()
    found = search(examples, mirrored=mirrored, cache_dir=cache_dir)
    record = replace(found.record, mode=mode, seconds=time.perf_counter() - start)
    searched = replace(examples, near_duplicate_search=replace(found, record=record),
                       near_duplicates=clusters(examples, found.group_of) if mode == GROUP else None)
    print("\n".join(f"  {line}" for line in record.lines), flush=True)
    return searched


def search(examples: Examples, *, mirrored: bool = False, cache_dir: str | Path | None = None) -> NearDuplicateSearch:
    """Search for near-duplicates; see `find_near_duplicates`."""
    hashes = Hashes.of(examples.ids)
    rows = hashes.first_of_each()  # each content once: the row where it occurs first
    ids = hashes.take(rows)
    column: Any = examples.items
    items = column.take(rows) if hasattr(column, "take") else [column[row] for row in rows]
    modality = examples.modality
    contents: Contents = modality.load(modality.near_duplicates, "read_contents")(
        items, mirrored=mirrored, folder=None if cache_dir is None else Path(cache_dir))
    result = grouped(contents)
    members = defaultdict(list)
    for place, label in enumerate(result.label.tolist()):
        members[label].append(place)
    group_of = {ids[place]: min(ids[other] for other in places)
                for places in members.values() if len(places) > 1 for place in places}
    counts = Counter(group_of.get(content, content) for content in examples.ids)
    groups = {name: n for name, n in counts.items() if n > 1}
    record = NearDuplicates(
        REPORT, len(groups), sum(groups.values()), len(groups) - len(set(group_of.values())),
        _conflicts(examples, group_of, groups), threshold=contents.threshold,
        pairs=tuple(_pairs(examples, rows.tolist(), result)), split_up=result.split_up, notes=tuple(contents.notes))
    return NearDuplicateSearch(record, group_of)


def _conflicts(examples: Examples, group_of: Mapping[str, str], groups: Mapping[str, int]) -> int:
    labels: dict[str, set[bytes]] = {name: set() for name in groups}
    for content, target in zip(examples.ids, examples.targets, strict=True):
        if (name := group_of.get(content, content)) in labels:
            labels[name].add(target.tobytes())
    return sum(len(distinct) > 1 for distinct in labels.values())


def _pairs(examples: Examples, rows: Sequence[int], result: Grouping) -> list[NearDuplicatePair]:
    pairs = []
    for left, right, similarity in (*result.nearest, *result.rejected):
        a, b = rows[left], rows[right]
        labels = (examples.label_of(a), examples.label_of(b)) if examples.classes else ("", "")
        pairs.append(NearDuplicatePair((examples.origins[a], examples.origins[b]), labels, similarity,
                                       bool(result.label[left] == result.label[right])))
    return pairs


def near_duplicate_rows(examples: Examples, group_of: Mapping[str, str]) -> list[list[int]]:
    """The rows of each group of near-duplicates that are not all the same content, in order."""
    members = defaultdict(list)
    for row, content in enumerate(examples.ids):
        if content in group_of:
            members[group_of[content]].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def clusters(examples: Examples, group_of: Mapping[str, str]) -> Sequence[str]:
    """For each row the name of its cluster: its near-duplicates united with its group. It is the first name of the
    groups that are united, so that a row without near-duplicates keeps the name of its group."""
    joined: dict[str, str] = {}

    def name_of(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    together = near_duplicate_rows(examples, group_of)
    for rows in together:
        names = sorted({name_of(examples.groups[row]) for row in rows})
        joined |= dict.fromkeys(names[1:], names[0])
    groups = examples.groups
    if not joined:
        return groups
    if isinstance(groups, Hashes):  # the groups are contents, so that only these rows are renamed
        raw = groups.raw.copy()
        for row in chain.from_iterable(together):
            raw[row] = np.frombuffer(bytes.fromhex(name_of(groups[row])), np.uint8)
        return Hashes(raw)
    return Codes.of(map(name_of, groups))


def keep_apart(examples: Examples) -> Examples:
    """Without the training and validation rows that are near-duplicates of a row on a more held-out side of the split:
    test, then validation. They are listed and counted as skipped; no row moves. Examples whose near-duplicates are not
    grouped stay as they are."""
    found, split = examples.near_duplicate_search, examples.split
    if found is None or examples.near_duplicates is None or split is None:
        return examples
    place: dict[str, int] = {}  # the most held-out row of each group; parts are numbered by how held out they are
    names = [found.group_of.get(content, content) for content in examples.ids]
    for row, name in enumerate(names):
        if name not in place or split.part[row] > split.part[place[name]]:
            place[name] = row
    part_named = {number: part for part, number in PARTS.items()}
    skipped, kept = SkippedRows(), []
    for row, name in enumerate(names):
        other = place[name]
        if split.part[row] == split.part[other]:
            kept.append(row)
        else:
            skipped.add(examples.origins[row], f"near-duplicate of a {part_named[split.part[other]]} row: "
                        f"{examples.origins[other]}", examples.label_of(row), requested=True)
    if len(kept) == len(examples):
        return examples
    record = replace(found.record, skipped=len(examples) - len(kept))
    rest = replace(examples.take(kept), near_duplicate_search=replace(found, record=record, plain=examples))
    return enough(rest.with_skipped(skipped))
