"""Which rows are used for training, validation and testing. A row's part follows from the hash of its group alone.

So it changes neither when data are added nor with a seed. Exact duplicates have the same hash and stay together.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Codes
from kerastl.data.examples import EXAMPLES, PARTS, SHOWN, TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.data.near_duplicates.search import keep_apart
from kerastl.errors import DataError, OptionError, expect

FOLDS = 5
SMALL_TEST = 500  # if a 10% hold-out would have fewer test rows than this, cross-validation is more precise
SMALL_TEST_TUNED = 50  # the same where the backbone is trained too, once per fold, which may take long
REQUESTED = "requested"  # the reason of a split
MODES = ("auto", "cv", "holdout")
IGNORING_NEAR = "`near_duplicates` to report, so that near-duplicates do not join groups"  # for messages
UNFREEZE = ("all", "auto", "contrast")
UNFREEZE_TEXT = "a number of blocks, all, auto or contrast"  # for messages


def is_unfreeze(value: int | str) -> bool:
    """Whether `unfreeze` may be this: a number of blocks, or one of UNFREEZE."""
    return str(value) in UNFREEZE or str(value).isdecimal()


def split(examples: Examples, mode: str = "auto", *, unfreeze: int | str = 0, search: int = 0) -> Examples:
    """Assign every row to a part. With `auto`, a split specified by the source is used; otherwise small data is
    cross-validated in 5 folds, and other data is divided 80/10/10. Small are fewer than 5,000 rows; where blocks of the
    backbone are trained too, once per fold, fewer than 500. mode: `cv` or `holdout` force one of these.

    unfreeze: the number of backbone blocks that will be trained too, or one of `UNFREEZE`. search: the number of trials
    in a search over head settings, which needs validation rows. Near-duplicates that `find_near_duplicates` grouped
    stay together in cross-validation; otherwise those that are on several sides are skipped on all but the most
    held-out one. Raises OptionError for an unknown mode, and for `cv` with a search, DataError if a part would be
    empty.
    """
    expect(Examples, EXAMPLES, examples=examples)
    if not is_unfreeze(unfreeze):
        raise OptionError(f"`unfreeze` is {unfreeze}", f"a number of blocks, or {', '.join(UNFREEZE)}",
                          "set `unfreeze` to 0 to keep the whole backbone frozen")
    unfrozen = str(unfreeze) not in ("0", "auto", "contrast")
    _check_mode(mode, search)
    if mode == "auto" and any(examples.source_split):
        return _of_source(examples)
    smallest = SMALL_TEST_TUNED if unfrozen else SMALL_TEST
    small = len(examples) * 0.1 < smallest
    requested = REQUESTED + "; the source's own split is not used" * any(examples.source_split)
    if mode == "cv" or (mode == "auto" and not search and small):
        return replace(examples, split=_folds(examples, requested if mode == "cv" else
                                              f"a 10% hold-out would have fewer than {smallest} rows"))
    reason = (requested if mode == "holdout" else "a search needs validation rows" if search else
              "the backbone is unfrozen" if unfrozen else "the dataset is large enough")
    return _checked(keep_apart(split_by_hash(examples, reason)))


def split_by_hash(examples: Examples, reason: str = REQUESTED) -> Examples:
    """The hold-out of `split`, whatever it leaves of the parts and classes: the part of a row depends on its group
    alone, and not even an error tells of other rows."""
    return replace(examples, split=Split("holdout", reason, parts_by_hash(examples.groups)))


def split_of(examples: Examples) -> Split:
    """The split of examples. Raises DataError where they have none."""
    if examples.split is None:
        raise DataError(f"the examples of {examples.source} are not split", "rows to train on and rows to evaluate on",
                        "examples = kerastl.split(examples)")
    return examples.split


def _check_mode(mode: str, search: int) -> None:
    if mode not in MODES:
        raise OptionError(f"`split` is {mode}", f"one of {', '.join(MODES)}", "omit `split` for auto")
    if mode == "cv" and search:
        raise OptionError("`split=cv` cannot be combined with `search`",
                          "a hold-out, whose validation rows select the settings",
                          "set `split` to holdout, or omit `search`")


def _folds(examples: Examples, reason: str) -> Split:
    own, clusters = len(set(examples.groups)), len(set(examples.clusters))
    if clusters < 3:
        few = f"the rows of {examples.source} belong to {own} group{'' if own == 1 else 's'}"
        raise DataError(few if own < 3 else f"{few}, which near-duplicates join to {clusters}",
                        "at least 3 groups, for training, validation and testing",
                        "add data, or set " + (IGNORING_NEAR if own >= 3 else
                                               "`group_column` to none to ignore the groups"))
    if single := _of_one_group(examples, examples.clusters):
        if len(single) == len(examples.classes):
            united = len(_of_one_group(examples, examples.groups)) < len(single)
            remedy = IGNORING_NEAR if united else "`group_column` to another column, or to none to ignore the groups"
            raise DataError(f"each class of {examples.source} is one group" + " of near-duplicates" * united +
                            ", so that a class that is held out is unknown to the model",
                            "several groups in each class", f"set {remedy}")
        reason += (f"; all rows of {', '.join(single)} belong to one group, so they were evaluated by heads that were "
                   "not trained on that class")
    return Split("cv", reason, folds(examples, FOLDS))


def folds(examples: Examples, k: int, rows: NDArray[np.intp] | None = None) -> NDArray[np.int8]:
    """The fold of each of `rows` (default: all), [rows] int8 in [0, k). Groups are distributed in hash order within
    their class; a cluster of several groups goes where the first of them goes, so that rows without near-duplicates are
    where they would be without the others. So folds are stratified, clusters stay whole, and the same data give the
    same folds."""
    chosen = np.arange(len(examples)) if rows is None else rows
    labels = [examples.label_of(row) for row in chosen]
    groups, clusters = ([names[row] for row in chosen.tolist()] for names in (examples.groups, examples.clusters))
    fold_of = _dealt(groups, labels, k)
    first: dict[str, str] = {}  # of the groups of each cluster
    for group, cluster in zip(groups, clusters, strict=True):
        first[cluster] = min(group, first.get(cluster, group))
    part = np.array([fold_of[first[cluster]] for cluster in clusters], dtype=np.int8)
    if len(set(part.tolist())) < min(k, len(first)):  # few and large clusters: none may be left without a fold
        fold_of = _dealt(clusters, labels, k)
        part = np.array([fold_of[cluster] for cluster in clusters], dtype=np.int8)
    return part


def _dealt(names: Sequence[str], labels: Sequence[str], k: int) -> dict[str, int]:
    """The fold of each name. names, labels: of each row."""
    label_of: dict[str, str] = {}
    for name, label in zip(names, labels, strict=True):
        label_of[name] = min(label, label_of.get(name, label))  # independent of the order of the rows
    by_class: dict[str, list[str]] = {}
    for name, label in label_of.items():
        by_class.setdefault(label, []).append(name)
    fold_of: dict[str, int] = {}  # turns go on from class to class: small classes are not all in the first folds
    for label in sorted(by_class):
        names_of_class = by_class[label]
        for place in np.argsort(_positions(names_of_class), kind="stable").tolist():
            fold_of[names_of_class[place]] = len(fold_of) % k
    return fold_of


def _of_one_group(examples: Examples, group_of: Sequence[str]) -> list[str]:
    """Classes whose rows all belong to one group. The fold that holds them out has no row of the class to train on.
    group_of: the group of each row."""
    groups: list[set[str]] = [set() for _ in examples.classes]
    for row, group in enumerate(group_of):
        for number in examples.classes_of(row):
            groups[number].add(group)
    return [name for name, names in zip(examples.classes, groups, strict=True) if len(names) == 1]


def carve(examples: Examples, rows: NDArray[np.intp], share: float = 0.15) -> NDArray[np.bool_]:
    """A mask over `rows` of those to set aside for choosing an epoch: about `share` of each class, in whole groups. If
    there are at least two groups, some rows are set aside and some are not."""
    k = max(2, min(round(1 / share), len(set(examples.clusters_of(rows)))))
    return folds(examples, k, rows) == k - 1


def _positions(groups: Iterable[str]) -> NDArray[np.float64]:
    """The hash of each group as a fraction in [0, 1), [groups]."""
    hashes = bytearray()
    for group in groups:
        hashes += hashlib.blake2b(group.encode(), digest_size=8).digest()
    return np.frombuffer(bytes(hashes), ">u8") / 2.0**64


def parts_by_hash(groups: Iterable[str]) -> NDArray[np.int8]:
    """The part of each group in a hold-out of 80/10/10: TRAIN, VALIDATION or TEST."""
    position = _positions(groups)
    return np.where(position < 0.1, TEST, np.where(position < 0.2, VALIDATION, TRAIN)).astype(np.int8)


def takes_by_hash(groups: Iterable[str]) -> NDArray[np.int8]:
    """The part that each group of training rows is taken for where a source's own split lacks it: a tenth TEST, a tenth
    VALIDATION. It is another hash than in a hold-out, so that the rows taken are not those that a hold-out takes."""
    position = _positions(f"carved {group}" for group in groups)
    return np.where(position < 0.1, TEST, np.where(position >= 0.9, VALIDATION, TRAIN)).astype(np.int8)


def _of_source(examples: Examples) -> Examples:
    source_split = Codes.of(examples.source_split)
    part = np.array([PARTS.get(name, TRAIN) for name in source_split.names], np.int8)[source_split.codes]
    taken = takes_by_hash(examples.groups)
    reason = "the source's own split" + f" ({examples.summary.split})" * bool(examples.summary.split)
    if not (part == TEST).any():
        part[(part == TRAIN) & (taken == TEST)] = TEST
        reason += "; it has no test rows, so a tenth of the training rows is used instead"
    if not (part == VALIDATION).any():
        part[(part == TRAIN) & (taken == VALIDATION)] = VALIDATION
        reason += "; it has no validation rows, so a tenth of the training rows is used instead"
    kept = keep_apart(replace(examples, split=Split("given", reason, part)))
    if leaks := _leaks(kept):
        reason += (f"; {leaks} group{'s' * (leaks > 1)} (or exact duplicates) shared between train and test: see "
                   "`kerastl check`")
    return _checked(replace(kept, split=Split("given", reason, split_of(kept).part)))


def _leaks(examples: Examples) -> int:
    part = split_of(examples).part
    test = {examples.groups[row] for row in np.flatnonzero(part == TEST).tolist()}
    return len(test & {examples.groups[row] for row in np.flatnonzero(part != TEST).tolist()})


def _checked(examples: Examples) -> Examples:
    made = split_of(examples)
    sizes = {name: len(made.rows(part)) for name, part in PARTS.items()}
    trained = examples.task.counts(examples.targets[made.rows(TRAIN)], len(examples.classes))
    missing = [name for name, n in zip(examples.classes, trained.tolist(), strict=True) if not n]
    if min(sizes.values()) == 0 or missing:
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        problem = (f"no training row for the classes {', '.join(missing[:SHOWN])}{more}" if missing else
                   f"rows: {', '.join(f'{name} {n}' for name, n in sizes.items())}")
        found = examples.near_duplicate_search
        skipped = found.record.skipped if found else 0
        if skipped:
            problem += f" ({skipped:,} near-duplicates of more held-out rows were skipped)"
        raise DataError(f"the split of {examples.source} is not usable: {problem}",
                        "training, validation and test rows, and training rows of every class",
                        "add data, or set `split` to cv" + ", or `near_duplicates` to report" * bool(skipped))
    return examples
