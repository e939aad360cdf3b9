"""Private training: cached features of labelled groups in, a head and its accuracy out, with what both cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST, Examples
from kerastl.data.split import split_by_hash, split_of
from kerastl.errors import DataError, OptionError, expect
from kerastl.features.compute import Features
from kerastl.privacy import prototypes, ridge
from kerastl.privacy.accounting import strength_of
from kerastl.privacy.accuracy import PaidAccuracy, paid_accuracy
from kerastl.privacy.head import PrivateHead
from kerastl.privacy.noise import SYSTEM, Entropy
from kerastl.privacy.options import HEADS, INSTEAD, PrivacyOptions
from kerastl.privacy.record import Private
from kerastl.privacy.rows import Rows

FITTERS: Mapping[str, Callable[..., PrivateHead]] = {module.NAME: module.fit for module in (ridge, prototypes)}
WITH_CLASSES = "examples = kerastl.privacy.fit.with_classes(examples, options.classes)"  # in messages
PER_CLASS = 150  # groups of each class, at strength 1, that the rule asks for
PUBLIC = ("the classes and their order", "the settings of the run, among them the path of the data",
          "the power of ten that is not below the number of groups, from which delta follows",
          "the format of the data: columns, encoding, delimiter")
FIXED = ("temperature 1 and a fixed factor of the logits", "the random projection",
         "the hold-out, by the hash of a group", "the engine and the arithmetic of the features",
         "row counts are noised, and rounded to two digits")
OMITTED = ("split.csv", "held_out.npz", "reference.npz", "rejection.npz and unknown_score",
           "fingerprints of data and split", "counts of classes", "skipped rows",
           "confusion matrix, mistakes and thumbnails", "label errors", "learning curve", "near-duplicates", "baseline",
           "comparison with the previous version", "examination of explanations", "durations")


@dataclass(frozen=True)
class PrivateFit:
    """All that leaves the data in a private run. record: the protection, as run.json has it."""

    head: PrivateHead
    accuracy: PaidAccuracy
    record: Private
    classes: tuple[str, ...]


def with_classes(examples: Examples, classes: Sequence[str]) -> Examples:
    """The rows of these classes, whose list and order are public; rows of others are dropped. Groups are those that the
    source names: groups that share a copy are not joined, because one group would then change others.

    Raises DataError for rows with several labels, and where no row is left; OptionError for examples whose rows were
    chosen or changed by looking at other rows.
    """
    if changed := [name for name, done in (("`min_per_class`", examples.min_per_class > 0),
                                           ("near-duplicates", examples.near_duplicates is not None),
                                           ("corrections", examples.corrections is not None)) if done]:
        raise OptionError(f"rows of the examples depend on others by {', '.join(changed)}",
                          "examples as they are read with `min_per_class` 0", "read them again")
    if not examples.task.exclusive:
        raise DataError(f"{examples.source} has {examples.task.noun}", "one label a row",
                        "private heads are for one label a row; set `multi_label` to off")
    place = {name: number for number, name in enumerate(classes)}
    number = np.array([place.get(name, -1) for name in examples.classes], np.int64)
    targets = number[examples.targets]
    rows = np.flatnonzero(targets >= 0)
    if not len(rows):
        raise DataError(f"no row of {examples.source} has one of the classes {', '.join(classes)}",
                        "labels as `classes` has them", "check the names in `classes`")
    chosen = examples.take(rows)
    return replace(chosen, classes=tuple(classes), targets=targets[rows],
                   groups=chosen.groups if chosen.units is None else chosen.units)


def unit_of(examples: Examples) -> str:
    """What a group of these examples is, in words."""
    noun = examples.modality.noun
    if examples.units is None and list(examples.groups) == list(examples.ids):
        return f"one {noun} with its exact copies"
    return f"all {examples.modality.nouns} of one value of the group column"


def needed_groups(options: PrivacyOptions, delta: float) -> int:
    """How many training groups the rule asks for: PER_CLASS for each class over the strength of the budget, rounded up
    to two digits. On stamps and snippets the noise then costs at most about 8 points of accuracy."""
    exact = PER_CLASS * len(options.classes) / strength_of(options.epsilon, delta)
    step = 10 ** max(0, math.floor(math.log10(exact)) - 1)
    return int(math.ceil(exact / step) * step)


def needed_line(options: PrivacyOptions, examples: Examples) -> str:
    """Before training: the budget, and how many groups the rule asks for. It is for who holds the data."""
    groups = len(set(examples.groups))
    delta = options.delta_for(groups)
    needed, training = needed_groups(options, delta), groups * 9 // 10
    few = "; there are fewer, so the noise costs accuracy: increase epsilon, add rows, or take the head prototype" \
        if training < needed else ""
    return (f"private: epsilon {options.epsilon:g}, delta {delta:g}, for one group added or removed; a group is "
            f"{unit_of(examples)}.\nIt needs about {needed:,} training groups for {len(options.classes)} classes "
            f"(rule: {PER_CLASS} a class over the strength of the budget); the data have about "
            f"{rounded(training):,}{few}")


def rounded(number: float) -> int:
    """A noised count to two digits, not below 0."""
    return int(float(f"{max(number, 0.0):.2g}"))


def private_head_name(head: Any) -> str:
    """The name of the head that is fitted. Raises OptionError for one that has no private fitter."""
    name = INSTEAD.get(str(head), head)
    if name not in HEADS:
        raise OptionError(f"`head` is {head!r}, which has no private fitter", f"one of {', '.join(HEADS)}")
    return str(name)


def rows_of(features: Features, rows: NDArray[np.intp], *, held_out: bool = False) -> Rows:
    """Rows of features as private fitters take them."""
    examples = features.examples
    x = features.held_out_rows(rows) if held_out else features.rows(rows)
    return Rows(x.astype(np.float64), examples.targets[rows], [examples.groups[row] for row in rows.tolist()])


def fit_private(features: Features, options: PrivacyOptions, head: str = "linear", *, entropy: Entropy = SYSTEM
                ) -> PrivateFit:
    """A head for these features under differential privacy, and its accuracy on the held-out groups.

    features: pooled, of examples with the classes of `options` (`with_classes`) and a hold-out by the hash of their
    groups (`split_by_hash`): what is not a test row is trained on. head: `linear`, a ridge regression, or `prototype`,
    for few rows; `best` is `linear`. Training groups and held-out groups are disjoint, and each pays the whole budget
    once. entropy: where noise comes from; another source than the operating system protects nothing, and is for tests.

    Raises OptionError for another head, for maps or token states, and for examples with other classes, joined groups or
    another split.
    """
    expect(Features, "features, as kerastl.compute_features returns them", features=features)
    expect(PrivacyOptions, "a budget, as kerastl.PrivacyOptions.parse makes it", options=options)
    name, examples = private_head_name(head), features.examples
    if len(features.shape) != 1 or features.backbone is not None and features.backbone.large:
        raise OptionError(f"features of shape {features.shape} of a backbone that is not exported, or not pooled",
                          "pooled features of a backbone that is exported", "choose another backbone, layer or pooling")
    if examples.classes != options.classes:
        raise OptionError(f"the examples have other classes than `classes`: {', '.join(examples.classes[:5])}",
                          ", ".join(options.classes[:5]), WITH_CLASSES)
    if examples.units is not None and tuple(examples.groups) != examples.units:
        raise OptionError("groups of the examples are joined by copies that they share",
                          "groups as the source names them", WITH_CLASSES)
    test = split_of(examples).part == TEST
    if not np.array_equal(test, split_of(split_by_hash(examples)).part == TEST):
        raise OptionError(f"the split of the examples ({split_of(examples).mode}) is not by the hash of each group",
                          "a hold-out that depends on no other row",
                          "examples = kerastl.data.split.split_by_hash(examples)")
    delta = options.delta_for(len(set(examples.groups)))
    strength = strength_of(options.epsilon, delta)
    fitted = FITTERS[name](rows_of(features, np.flatnonzero(~test)), len(options.classes), strength, entropy)
    accuracy = paid_accuracy(fitted, rows_of(features, np.flatnonzero(test), held_out=True), strength, entropy)
    record = Private(options.epsilon, delta, unit_of(examples), strength=strength, dimensions=len(fitted.centre),
                     payments=(*fitted.payments, accuracy.payment), public=PUBLIC, fixed=FIXED, omitted=OMITTED,
                     needs=needed_groups(options, delta))
    return PrivateFit(fitted, accuracy, record, options.classes)
