"""Episodes: small tasks drawn from a pool of classes; and which classes may be learnt from and which judge.

An episode has `way` classes, `shot` labelled rows of each (the support) and `queries` other rows of each to be told
apart. Vinyals et al. 2016, https://arxiv.org/abs/1606.04080.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.errors import DataError, OptionError
from kerastl.features.compute import Features

FEWEST_EPISODES = 200  # with fewer, the interval is wider than what the methods differ by
FEWEST_BASE = 4  # classes to learn from: some must be kept aside to choose by, and a task needs two
TRIES = 100  # draws of an episode whose groups do not fit


@dataclass(frozen=True)
class Task:
    """What an episode is like: `way` classes, one of `shots` rows of each to learn from, `queries` of each to judge."""

    way: int
    shots: tuple[int, ...]
    queries: int

    @property
    def rows(self) -> int:
        """Rows, or groups of rows, that a class must have."""
        return max(self.shots) + self.queries


@dataclass(frozen=True)
class Pool:
    """Rows of some classes, in memory. x: [rows, dim] float32. rows: of each class its row numbers. groups: [rows],
    numbers; rows of one group never lie on both sides of an episode."""

    classes: tuple[str, ...]
    x: NDArray[np.float32]
    rows: tuple[NDArray[np.intp], ...]
    groups: NDArray[np.intp]

    def only(self, which: Sequence[int]) -> "Pool":
        """The same pool with these classes alone; of the others not a row stays."""
        kept = np.concatenate([self.rows[c] for c in which])
        ends = np.cumsum([0, *(len(self.rows[c]) for c in which)])
        rows = tuple(np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
        return Pool(tuple(self.classes[c] for c in which), self.x[kept], rows, self.groups[kept])


@dataclass(frozen=True)
class Division:
    """base: classes that methods may learn from; novel: classes that only judge. skipped: classes too small."""

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
    """The task that flags ask for. shots: numbers with commas. Raises OptionError that lists every wrong flag."""
    parts = [part.strip() for part in shots.split(",")]
    counts = tuple(sorted({int(part) for part in parts if part.isdecimal()}))
    faults = [f"--{name} {value}: {wanted}" for name, value, wanted, right in (
        ("way", way, "2 or more", way >= 2),
        ("shots", shots, "numbers from 1 on, as 1,5,10", all(p.isdecimal() for p in parts) and min(counts) >= 1),
        ("queries", queries, "1 or more", queries >= 1),
        ("episodes", episodes, f"{FEWEST_EPISODES} or more", episodes >= FEWEST_EPISODES),
        ("seed", seed, "from 0 to 4294967295", 0 <= seed < 2**32),
    ) if not right]
    if faults:
        raise OptionError("\n".join(faults), "flags as said", "see the recipe's --help")
    return Task(way, counts, queries)


def by_folder(examples: Examples) -> Examples:
    """The same rows, each of the class of the folder that it lies in: `animals/birds` rather than `animals`."""
    names = [str(PurePath(origin).parent) for origin in examples.origins]
    classes = tuple(sorted(set(names)))
    number = {name: c for c, name in enumerate(classes)}
    return replace(examples, classes=classes, targets=np.array([number[name] for name in names], np.int64))


def divide_classes(features: Features, task: Task) -> Division:
    """Divide the classes in two halves, in the order of the hash of their names, the first half (rounded down) novel.

    A seed moves nothing. Base rows whose content is also in a novel class are left out. The rows are read into memory.
    Raises DataError where rows have several labels, or classes of `task.rows` groups are too few: fewer novel ones than
    `task.way`, or base ones than one more and 4.
    """
    examples = features.examples
    if examples.multi_label:
        raise DataError(f"rows of {examples.source} have several labels", "one label a row: an episode's classes "
                        "are told apart", "give each row its one class")
    group_of = {group: i for i, group in enumerate(dict.fromkeys(examples.groups))}
    groups = np.array([group_of[group] for group in examples.groups], np.intp)
    of_class = [np.flatnonzero(examples.targets == c) for c in range(len(examples.classes))]
    large = [c for c, rows in enumerate(of_class) if len(set(groups[rows])) >= task.rows]
    large.sort(key=lambda c: _position(examples.classes[c]))
    novel, base = large[:len(large) // 2], large[len(large) // 2:]
    judging = {examples.ids[row] for c in novel for row in of_class[c]}
    for c in base:
        of_class[c] = np.array([row for row in of_class[c] if examples.ids[row] not in judging], np.intp)
    base = [c for c in base if len(set(groups[of_class[c]])) >= task.rows]
    fewest = max(task.way + 1, FEWEST_BASE)
    if len(novel) < task.way or len(base) < fewest:
        raise DataError(
            f"{examples.source} has {len(base)} base and {len(novel)} novel classes of {task.rows} rows or more, of "
            f"{len(examples.classes)} classes in all", f"{fewest} to learn from and {task.way} that judge, for "
            f"{task.way}-way episodes", "give a smaller --way, --shots or --queries, or more classes")
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
    """Draw episodes; the same seed draws the same. Within one, no group is on both the support's and the query's side,
    and of a class no group comes twice.

    Raises DataError where the groups' classes overlap so that no such episode is found.
    """
    generator = np.random.default_rng(seed)
    classes, drawn = np.empty((episodes, way), np.intp), np.empty((episodes, way, shot + queries), np.intp)
    for i in range(episodes):
        for _ in range(TRIES):
            classes[i] = generator.permutation(len(pool.classes))[:way]
            if _draw(pool, classes[i], shot, drawn[i], generator):
                break
        else:
            raise DataError(f"no episode of {way} classes, {shot} + {queries} rows, keeps every group on one side",
                            "groups enough in each class", "give a smaller --way, --shots or --queries")
    return Episodes(classes, drawn[..., :shot], drawn[..., shot:])


def _draw(pool: Pool, classes: Iterable[int], shot: int, into: NDArray[np.intp], generator: np.random.Generator
          ) -> bool:
    """Fill `into`, [way, shot + queries], support first; whether the groups allowed it."""
    sides: tuple[set[int], set[int]] = (set(), set())  # groups of the support, of the queries
    wanted = (shot, into.shape[1] - shot)
    for place, c in enumerate(classes):
        mine: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for row in generator.permutation(pool.rows[c]).tolist():
            group = int(pool.groups[row])
            if group in mine[0] or group in mine[1]:
                continue
            for side in (0, 1):
                if len(mine[side]) < wanted[side] and group not in sides[1 - side]:
                    mine[side][group] = row
                    break
        if any(len(mine[side]) < wanted[side] for side in (0, 1)):
            return False
        into[place] = [*mine[0].values(), *mine[1].values()]
        sides[0].update(mine[0])
        sides[1].update(mine[1])
    return True
