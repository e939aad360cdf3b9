"""Which rows train, which choose, and which judge. A row's side comes from the hash of its group alone.

The side neither moves when data are added nor with a seed. Exact duplicates have one hash, hence one side.
"""

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import SHOWN, TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.errors import DataError, OptionError

FOLDS = 5
SMALL_TEST = 500  # with fewer test rows than this in a 10% hold-out, cross-validation tells more
MODES = ("auto", "cv", "holdout")
UNFREEZE = ("all", "auto", "contrast")
SIDES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def split(examples: Examples, mode: str = "auto", *, unfreeze: int | str = 0, search: int = 0) -> Examples:
    """Give every row its part. The user's own split is honoured; else small data with a frozen backbone is
    cross-validated in 5 folds and the rest is held out 80/10/10. `mode` forces one of the two.

    unfreeze: blocks of the backbone that will train too, or one of `UNFREEZE`; `contrast` is quick enough for folds.
    search: trials of a head's settings, which validation rows choose among.
    Raises OptionError for an unknown mode, or `cv` with an unfrozen backbone or a search, DataError when a side would
    be empty.
    """
    if not (str(unfreeze) in UNFREEZE or str(unfreeze).isdecimal()):
        raise OptionError(f"--unfreeze {unfreeze}", f"a number of blocks, or {', '.join(UNFREEZE)}",
                          "give 0 to keep all frozen")
    tuned = str(unfreeze) not in ("0", "auto", "contrast")
    if mode not in MODES:
        raise OptionError(f"--split {mode}", f"one of {', '.join(MODES)}", "leave --split out for auto")
    if mode == "cv" and tuned:
        raise OptionError("--split cv with --unfreeze", "a hold-out, for the backbone is trained only once",
                          "use --split holdout, or leave --unfreeze out")
    if mode == "cv" and search:
        raise OptionError("--split cv with --search", "a hold-out, whose validation rows choose the settings",
                          "use --split holdout, or leave --search out")
    if mode == "auto" and any(examples.given):
        return replace(examples, split=_given(examples))
    n = len(examples)
    if mode == "cv" or (mode == "auto" and not tuned and not search and n * 0.1 < SMALL_TEST):
        if (groups := len(set(examples.groups))) < 3:
            raise DataError(f"the rows of {examples.source} are of {groups} group{'' if groups == 1 else 's'}",
                            "3 groups or more: some rows to train on, some to choose by and some to judge",
                            "add data, or leave the group column out")
        why = "asked for" if mode == "cv" else f"a 10% hold-out would have fewer than {SMALL_TEST} rows"
        if alone := _of_one_group(examples):
            why += f"; all rows of {', '.join(alone)} are one group, so heads that never saw the class judged them"
        return replace(examples, split=Split("cv", why, folds(examples, FOLDS)))
    why = "asked for" if mode == "holdout" else ("the backbone is unfrozen" if tuned else "settings are searched"
                                                        if search else "there are rows enough")
    position = np.array([_position(group) for group in examples.groups])
    part = np.where(position < 0.1, TEST, np.where(position < 0.2, VALIDATION, TRAIN)).astype(np.int8)
    return replace(examples, split=_checked(examples, Split("holdout", why, part)))


def folds(examples: Examples, k: int, rows: NDArray[np.intp] | None = None) -> NDArray[np.int8]:
    """Fold of each of `rows` (default: all): groups dealt in hash order within their class, so that folds are
    stratified, groups stay whole, and the same data give the same folds. Returns [rows] int8 in [0, k)."""
    chosen = np.arange(len(examples)) if rows is None else rows
    members: dict[str, list[int]] = {}
    for place, row in enumerate(chosen):
        members.setdefault(examples.groups[row], []).append(place)
    by_class: dict[str, list[str]] = {}
    for group, places in members.items():
        first = min(examples.label_of(chosen[place]) for place in places)  # whatever the rows' order
        by_class.setdefault(first, []).append(group)
    part = np.zeros(len(chosen), dtype=np.int8)
    turn = 0  # goes on from class to class, so that small classes do not all fill the first folds
    for label in sorted(by_class):
        for group in sorted(by_class[label], key=_position):
            part[members[group]] = turn % k
            turn += 1
    return part


def _of_one_group(examples: Examples) -> list[str]:
    """Classes whose rows all share a group: the fold that holds them out has none left to train on."""
    groups: list[set[str]] = [set() for _ in examples.classes]
    for row, group in enumerate(examples.groups):
        for c in _classes_of(examples, row):
            groups[c].add(group)
    return [name for name, some in zip(examples.classes, groups, strict=True) if len(some) == 1]


def _classes_of(examples: Examples, row: int) -> list[int]:
    """The numbers of a row's classes. With many classes this is less to hold than `one_hot`."""
    target = examples.targets[row]
    return np.flatnonzero(target).tolist() if examples.multi_label else [int(target)]


def carve(examples: Examples, rows: NDArray[np.intp], share: float = 0.15) -> NDArray[np.bool_]:
    """A mask over `rows` of those to keep for choosing an epoch: about `share` of each class, groups whole. From two
    groups on, some are kept and some are not."""
    k = max(2, min(round(1 / share), len({examples.groups[row] for row in rows})))
    return folds(examples, k, rows) == k - 1


def _position(group: str) -> float:
    """Where a group lies in [0, 1): its hash, read as a fraction."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big") / 2**64


def _given(examples: Examples) -> Split:
    part = np.array([SIDES.get(side, TRAIN) for side in examples.given], dtype=np.int8)
    # A hash of its own, lest rows carved here be those that another hold-out would have carved.
    position = np.array([_position("carved " + group) for group in examples.groups])
    why = "the source's own split"
    if not (part == TEST).any():
        part[(part == TRAIN) & (position < 0.1)] = TEST
        why += "; it has no test rows, so a tenth of the training rows became them"
    if not (part == VALIDATION).any():
        part[(part == TRAIN) & (position >= 0.9)] = VALIDATION
        why += "; it has no validation rows, so a tenth of the training rows became them"
    leaks = _leaks(examples, part)
    if leaks:
        why += f"; {leaks} groups (or exact duplicates) lie on both sides of test: see `kerastl check`"
    return _checked(examples, Split("given", why, part))


def _leaks(examples: Examples, part: NDArray[np.int8]) -> int:
    test = {examples.groups[row] for row in np.flatnonzero(part == TEST)}
    return len(test & {examples.groups[row] for row in np.flatnonzero(part != TEST)})


def _checked(examples: Examples, made: Split) -> Split:
    sizes = {name: len(made.rows(part)) for name, part in SIDES.items()}
    seen = {c for row in made.rows(TRAIN) for c in _classes_of(examples, row)}
    missing = [name for c, name in enumerate(examples.classes) if c not in seen]
    if min(sizes.values()) == 0 or missing:
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        trouble = f"classes without a training row: {', '.join(missing[:SHOWN])}{more}" if missing else f"rows: {sizes}"
        raise DataError(f"the split of {examples.source} leaves a side without rows ({trouble})",
                        "training, validation and test rows, and every class among the training rows",
                        "add data, or use --split cv")
    return made
