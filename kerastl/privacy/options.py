"""What a private run may use: the budget, and which arguments are open, closed or have a fixed value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerastl.data.labels import normal_form
from kerastl.data.shards import is_table
from kerastl.errors import KerastlError, OptionError, all_of
from kerastl.files import source_path
from kerastl.privacy.accounting import SMALLEST, TINIEST

AUTO = "auto"
HEADS = ("linear", "prototype")
INSTEAD = {"best": "linear"}  # choosing among heads reads the data: the default becomes a fixed head
LARGEST = 1e6  # epsilon: nothing is protected from 20 or so
KINDS = ("fp32", "fp16")  # TFLite files whose error bound does not depend on rows of the data

OPEN = {
    "data": "where the data are", "name": "public", "out": "public", "cache_dir": "the cache is not released",
    "data_dir": "where the data are", "json": "how results are printed", "private": "the budget",
    "classes": "public, given by you", "backbone": "public", "weights": "public", "layer": "public",
    "pooling": "public", "head": "one of linear, prototype", "max_length": "public", "long": "public",
    "text_column": "public", "label_column": "public", "path_column": "public", "group_column": "public: the unit",
    "no_label": "decided for each row", "accept_truncated": "decided for each row", "pickles": "about the weights",
    "engine": "public", "xla": "public", "tflite": "fp32, fp16 or none",
    "batch_size": "of the feature pass", "isolate": "how files are decoded", "workers": "which machines compute",
    "devices": "which processors compute",
    "seed": "recorded; noise never comes from it",
}
# Closed arguments: the values that have no effect, and why others are refused.
CLOSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "search": ((0,), "a search chooses settings by the data"),
    "split": ((AUTO, "holdout"), "a private run holds out a tenth of the groups by their hash"),
    "split_column": ((None, "none"), "a private run holds out a tenth of the groups by their hash"),
    "min_per_class": ((10, 0), "skipping small classes shows how many rows they have; name the classes instead"),
    "limit": ((None,), "rows are chosen evenly over the classes, which depends on all rows"),
    "unfreeze": (("0", "auto", 0), "fine-tuning reads the data many times"),
    "epochs": ((None,), "a private head is solved"),
    "schedule": ((AUTO,), "a private head is solved"),
    "learning_rate": ((None,), "a private head is solved"),
    "find_learning_rate": ((False,), "it reads the data"),
    "gradual": ((False,), "it belongs to fine-tuning"),
    "layer_decay": ((None,), "it belongs to fine-tuning"),
    "lora": ((0,), "it belongs to fine-tuning"),
    "mixing": ((AUTO,), "it belongs to fine-tuning"),
    "augment": ((AUTO,), "it belongs to fine-tuning"),
    "average_epochs": ((1,), "it belongs to fine-tuning"),
    "class_weights": ((AUTO, "none"), "the counts of the classes are not public"),
    "label_smoothing": ((0.0,), "a private head is solved"),
    "loss": ((AUTO,), "a private head is solved with squares"),
    "target": ((None,), "a target chooses thresholds by held-out rows"),
    "allow_baseline": ((False,), "the vocabulary of the simple model is made of the texts"),
    "coverage": ((0.95,), "the score of unknown inputs is computed from features of the data"),
    "reject": (("off",), "the threshold of rejection is chosen by held-out rows"),
    "drift_reference": (("on", "off"), "the reference would hold features of rows; none is written"),
    "if_better": ((False,), "whether a version is published would depend on held-out rows"),
    "near_duplicates": ((AUTO, "off"), "a group of near-duplicates depends on other rows"),
    "mirrored": ((False,), "near-duplicates are not searched for"),
    "relabel": ((None,), "corrections are made by looking at the data"),
    "precision": ((AUTO, "float32"), "another arithmetic is used only if it passes a check on rows of the data"),
    "strict": ((False,), "whether a run ends would depend on all rows"),
    "multi_label": ((AUTO, "off"), "private heads are for one label a row"),
}


@dataclass(frozen=True)
class PrivacyOptions:
    """A privacy budget. epsilon: above 0. delta: in (0, 1); None: a tenth of one over the power of ten that is not
    below the number of groups. classes: all of them, which are public, in the order of the model's outputs."""

    epsilon: float
    delta: float | None
    classes: tuple[str, ...]

    @classmethod
    def parse(cls, private: str, classes: str | None) -> "PrivacyOptions":
        """Those of the arguments `private`, such as `epsilon=1,delta=auto`, and `classes`, such as `cat,dog`. Raises
        OptionError that lists all that is wrong."""
        faults, given, values = list[str](), set[str](), {"epsilon": "", "delta": AUTO}
        for part in str(private).split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if name not in values or not equals:
                faults.append(f"`private` is {private!r}; write epsilon=1,delta=auto")
            elif name in given:
                faults.append(f"`private` is {private!r}, which has {name} twice; write it once")
            else:
                values[name] = value
                given.add(name)
        epsilon, delta = _number(values["epsilon"]), None if values["delta"] == AUTO else _number(values["delta"])
        if not faults and not SMALLEST <= epsilon <= LARGEST:
            faults.append(f"epsilon in `private` must be a number from {SMALLEST:g} to {LARGEST:g} "
                          f"(got {values['epsilon']!r})")
        if not faults and delta is not None and not TINIEST <= delta < 1:
            faults.append(f"delta in `private` must be auto or a number between 0 and 1, of at least {TINIEST:g} "
                          f"(got {values['delta']!r})")
        names = tuple(map(normal_form, (classes or "").split(",")))  # as labels of the data are read
        if not any(names):
            faults.append("`classes` is missing: with `private` the list of classes is public, so it has to be given "
                          "and is not read from the data; write all names, separated by commas")
        elif not all(names) or len(set(names)) < len(names) or len(names) < 2:
            faults.append(f"`classes` is {classes!r}; write at least two names, each once, separated by commas")
        if faults:
            raise OptionError("\n".join(dict.fromkeys(faults)))
        return cls(epsilon, delta, names)

    def delta_for(self, groups: int) -> float:
        """delta for so many groups. It is below 1 over their number, and only its power of ten is used."""
        return self.delta if self.delta is not None else 10.0 ** -(math.ceil(math.log10(max(groups, 1))) + 1)


def closed_faults(arguments: Mapping[str, Any]) -> list[KerastlError]:
    """An error for each argument of a run that cannot be used with `private`."""
    faults: list[KerastlError] = []
    for name, value in arguments.items():
        if name in CLOSED and value not in CLOSED[name][0]:
            allowed = " or ".join(str(choice) for choice in CLOSED[name][0] if choice is not None) or "no value"
            faults.append(OptionError(f"`{name}` is {value!r}, which is closed with `private`: {CLOSED[name][1]}",
                                      allowed))
        elif name not in CLOSED and name not in OPEN:
            faults.append(OptionError(f"`{name}` belongs to a step that reads the data, and is closed with `private`",
                                      "a recipe without it", "choose minilm_text or efficientnet_lite_images"))
    head = INSTEAD.get(str(arguments.get("head")), arguments.get("head"))
    if head not in HEADS:
        faults.append(OptionError(f"`head` is {arguments.get('head')!r}, which has no private fitter",
                                  f"one of {', '.join(HEADS)}"))
    kinds = {kind.strip() for kind in str(arguments.get("tflite", "all")).split(",")}
    if refused := kinds - {*KINDS, "all", "none"}:
        faults.append(OptionError(f"`tflite` is {arguments['tflite']!r}: {', '.join(sorted(refused))} is accepted by "
                                  "rows of the data, and is closed with `private`", f"{', '.join(KINDS)} or none"))
    if str(arguments.get("data", "")).startswith("tfds:") or not _is_table(str(arguments.get("data", ""))):
        return faults
    inputs = "text_column" if "text_column" in arguments else "path_column"
    for name in (inputs, "label_column"):
        if arguments.get(name) is None:
            faults.append(OptionError(f"`{name}` is missing: with `private`, columns are not guessed from the data",
                                      "the name of the column"))
    return faults


def _is_table(source: str) -> bool:
    path = source_path(source)
    return is_table(path) or not path.is_dir()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def private_options(arguments: Mapping[str, Any]) -> PrivacyOptions:
    """The budget of a run's arguments. Raises one OptionError that lists all that cannot be used."""
    faults = closed_faults(arguments)
    try:
        options = PrivacyOptions.parse(arguments["private"], arguments["classes"])
    except OptionError as error:
        faults.insert(0, error)
    if faults:
        raise all_of(faults)
    return options


def private_kinds(kinds: str) -> str:
    """TFLite files, as `target` takes them. `all` is fp32: on made-up inputs, fp16 may exceed its bound."""
    return KINDS[0] if kinds == "all" else kinds
