"""Rows with the same or similar content, and what is wrong with them: other labels, or a place in train and test."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kerastl.data.examples import Examples
from kerastl.data.near_duplicates.search import clusters, near_duplicate_rows, search

Rows = list[int]  # numbers of rows that belong together, two or more


def same_content(examples: Examples) -> list[Rows]:
    """Rows whose files or texts are equal."""
    return _together(examples.ids)


def with_near_duplicates(examples: Examples, cache_dir: Path) -> tuple[Examples, list[Rows]]:
    """The examples with their near-duplicates grouped, and the groups: rows whose files or texts are similar, but not
    all equal."""
    found = search(examples, cache_dir=cache_dir)
    examples = replace(examples, near_duplicates=clusters(examples, found.group_of), near_duplicate_search=found)
    return examples, near_duplicate_rows(examples, found.group_of)


def conflicting_labels(examples: Examples) -> list[Rows]:
    """Rows with the same content and different labels."""
    return [rows for rows in same_content(examples) if len({examples.label_of(row) for row in rows}) > 1]


def leaks(examples: Examples) -> list[Rows]:
    """Duplicates, or rows of one group, that the source's own split puts into test and into training or validation."""
    return [rows for rows in _together(examples.groups)
            if len({examples.source_split[row] == "test" for row in rows}) > 1]


def _together(keys: Iterable[str]) -> list[Rows]:
    places: dict[str, Rows] = defaultdict(list)
    for row, key in enumerate(keys):
        places[key].append(row)
    return [rows for rows in places.values() if len(rows) > 1]
