"""Episodes: small tasks drawn from a pool of classes. Base classes are for learning, novel classes for evaluation.

An episode has `way` classes, `shot` labelled rows of each (the support) and `queries` other rows of each to classify.
Vinyals et al. 2016, https://arxiv.org/abs/1606.04080.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.errors import DataError, OptionError, all_of, at_least, broken
from kerastl.features.compute import Features

FEWEST_EPISODES = 200  # with fewer, the interval is wider than the differences between methods
FEWEST_BASE = 4  # base classes: some are held out to choose settings, and an episode needs two
TRIES = 100  # draws of an episode, where groups overlap


@dataclass(frozen=True)
class Task:
    """The shape of an episode: `way` classes, one of `shots` labelled rows per class, and `queries` rows per class to
    classify."""

    way: int
    shots: tuple[int, ...]
    queries: int

    @property
    def rows(self) -> int:
        """The rows, or groups of rows, that a class needs."""
        return max(self.shots) + self.queries


@dataclass(frozen=True)
class Pool:
    """Rows of some classes, in memory. x: [rows, dim] float32. rows: the row numbers of each class. groups: [rows]
    numbers; rows of one group are never in both the support and the queries of an episode."""

    classes: tuple[str, ...]
    x: NDArray[np.float32]
    rows: tuple[NDArray[np.intp], ...]
    groups: NDArray[np.intp]

    def only(self, classes: Sequence[int]) -> "Pool":
        """The same pool with the rows of these classes only."""
        kept = np.concatenate([self.rows[c] for c in classes])
        ends = np.cumsum([0, *(len(self.rows[c]) for c in classes)])
        rows = tuple(np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
        return Pool(tuple(self.classes[c] for c in classes), self.x[kept], rows, self.groups[kept])


@dataclass(frozen=True)
class Division:
    """base: classes that methods learn from; novel: classes for evaluation only. skipped: classes with too few rows."""

    base: Pool
    novel: Pool
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Episodes:
    """classes: [episodes, way], support: [episodes, way, shot] and query: [episodes, way, queries] row numbers."""

    classes: NDArray[np.intp]
    support: NDArray[np.intp]
    query: NDArray[np.intp]


def few_shot_task(way: int, shots: str, queries: int, episodes: int, seed: int) -> Task:
    """The task that arguments describe. shots: numbers separated by commas. Raises OptionError that lists everything
    that is wrong."""
    parts = [part.strip() for part in shots.split(",")]
    counts = tuple(sorted({int(part) for part in parts if part.isdecimal()}))
    faults = broken([
        *at_least(2, "way"), *at_least(1, "queries"), *at_least(FEWEST_EPISODES, "episodes"),
        ("shots", "numbers from 1 on, as 1,5,10", lambda _: all(map(str.isdecimal, parts)) and min(counts) >= 1),
        ("seed", "from 0 to 4294967295", lambda number: 0 <= number < 2**32),
    ], {"way": way, "shots": shots, "queries": queries, "episodes": episodes, "seed": seed})
    if faults:
        raise all_of(faults)
    return Task(way, counts, queries)


def by_folder(examples: Examples) -> Examples:
    """The same rows, labelled by the folder that directly contains them: `animals/birds` rather than `animals`. Raises
    OptionError where labels were corrected, since these would be lost."""
    if examples.corrections is not None:
        raise OptionError("`relabel` corrects labels, and `deepest` replaces them by the names of folders",
                          "one of the two", "omit `relabel`, or move the images to the right folders")
    names = [str(PurePath(origin).parent) for origin in examples.origins]
    classes = tuple(sorted(set(names)))
    number = {name: c for c, name in enumerate(classes)}
    return replace(examples, classes=classes, targets=np.array([number[name] for name in names], np.int64))


def divide_classes(features: Features, task: Task) -> Division:
    """Divide the classes into two halves by the hash of their names; the first half (rounded down) is novel.

    The division does not depend on a seed. Base rows whose content is also in a novel class are skipped. The rows are
    read into memory. Raises DataError where rows have several labels, or where there are fewer novel classes with
    `task.rows` groups than `task.way`, or fewer base classes than one more, and at least 4.
    """
    examples = features.examples
    if not examples.task.exclusive:
        raise DataError(f"{examples.source} has {examples.task.noun}", "one label per row",
                        "give each row exactly one label")
    group_of = {group: i for i, group in enumerate(dict.fromkeys(examples.clusters))}
    groups = np.array([group_of[group] for group in examples.clusters], np.intp)
    of_class = [np.flatnonzero(examples.targets == c) for c in range(len(examples.classes))]
    large = [c for c, rows in enumerate(of_class) if len(set(groups[rows])) >= task.rows]
    large.sort(key=lambda c: _position(examples.classes[c]))
    novel, base = large[:len(large) // 2], large[len(large) // 2:]
    novel_rows = {examples.ids[row] for c in novel for row in of_class[c].tolist()}
    for c in base:
        of_class[c] = np.array([row for row in of_class[c].tolist() if examples.ids[row] not in novel_rows], np.intp)
    base = [c for c in base if len(set(groups[of_class[c]])) >= task.rows]
    fewest = max(task.way + 1, FEWEST_BASE)
    if len(novel) < task.way or len(base) < fewest:
        raise DataError(
            f"{examples.source} has {len(base)} base and {len(novel)} novel classes with {task.rows} rows or more, out "
            f"of {len(examples.classes)} classes", f"{fewest} base and {task.way} novel classes for {task.way}-way "
            "episodes", "use a smaller `way`, `shots` or `queries`, or more classes")
    kept = {*base, *novel}
    small = tuple(name for c, name in enumerate(examples.classes) if c not in kept)
    return Division(_pool(features, base, of_class, groups), _pool(features, novel, of_class, groups), small)


def _pool(features: Features, classes: list[int], of_class: list[NDArray[np.intp]], groups: NDArray[np.intp]) -> Pool:
    rows = np.concatenate([of_class[c] for c in classes])
    ends = np.cumsum([0, *(len(of_class[c]) for c in classes)])
    names = tuple(features.examples.classes[c] for c in classes)
    numbers = tuple(np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
    return Pool(names, features.rows(rows), numbers, groups[rows])


def _position(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def sample(pool: Pool, episodes: int, *, way: int, shot: int, queries: int, seed: int | Sequence[int]) -> Episodes:
    """Draw episodes; the same seed draws the same ones. In an episode no group is in both the support and the queries,
    and each class has at most one row of a group.

    Raises DataError where groups span classes so that no such episode exists.
    """
    generator = np.random.default_rng(seed)
    classes, drawn = np.empty((episodes, way), np.intp), np.empty((episodes, way, shot + queries), np.intp)
    for i in range(episodes):
        for _ in range(TRIES):
            classes[i] = generator.permutation(len(pool.classes))[:way]
            if _draw(pool, classes[i], shot, drawn[i], generator):
                break
        else:
            raise DataError(f"no episode of {way} classes with {shot} + {queries} rows keeps the groups of its support "
                            "and its queries apart", "enough groups in each class",
                            "use a smaller `way`, `shots` or `queries`")
    return Episodes(classes, drawn[..., :shot], drawn[..., shot:])


def _draw(pool: Pool, classes: Iterable[int], shot: int, into: NDArray[np.intp], generator: np.random.Generator
          ) -> bool:
    """Fill `into`, [way, shot + queries], support first; whether the groups allowed it."""
    used: tuple[set[int], set[int]] = (set(), set())  # groups of the support, and of the queries
    sizes = (shot, into.shape[1] - shot)
    for place, c in enumerate(classes):
        drawn: tuple[dict[int, int], dict[int, int]] = ({}, {})  # rows by group
        for row in generator.permutation(pool.rows[c]).tolist():
            group = int(pool.groups[row])
            if group in drawn[0] or group in drawn[1]:
                continue
            for part in (0, 1):
                if len(drawn[part]) < sizes[part] and group not in used[1 - part]:
                    drawn[part][group] = row
                    break
        if any(len(drawn[part]) < sizes[part] for part in (0, 1)):
            return False
        into[place] = [*drawn[0].values(), *drawn[1].values()]
        used[0].update(drawn[0])
        used[1].update(drawn[1])
    return True
