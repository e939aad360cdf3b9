"""Heads: the task model on a backbone's features. One file here is one head; it defines `HEAD`.

Nothing else has to be edited: names, tables and the sweeping tests find it here.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError, unknown

CLASS_WEIGHTS = ("auto", "none", "balanced")  # how the loss weighs rows by their class

ROW, PLACES = "row", "places"
Shape = tuple[int | None, ...]  # of one example's features: (dim,), (height, width, channels), (length, dim)
Rows = Callable[[NDArray[np.intp]], NDArray[np.float32]]  # reads something of examples, [n] -> [n, ...]


@dataclass(frozen=True)
class Setting:
    """A number or word that a head can be given. A number is in [low, high], and searched on a log scale if `log`."""

    default: float | int | str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()  # of a word


@dataclass(frozen=True)
class Raw:
    """What a head that also looks at the raw input is given of an example. shape: of images (side, side, 3), whole
    numbers in [0, 255]; of texts (None,), numbers of tokens from 1 to `symbols`, 0 where there is padding."""

    shape: Shape
    symbols: int = 0


@dataclass(frozen=True)
class Side:
    """What the training of a head that looks at the raw input calls, each with the head's keras.Model.

    solved(head): whether the linear head is to be solved first and given to `prepare`.
    prepare(model, (mean, scale), blocks, start): before it trains; mean and scale of the training rows' features, [dim]
    each; `blocks()` gives their raw rows, a block at a time; start: kernel and bias of the solved head, for features as
    they are, or None. at_epoch(model, epoch): before each epoch, from 0.
    found(model): what training found, for the run record."""

    solved: Callable[["Head"], bool]
    prepare: Callable[[Any, tuple[Any, Any], Callable[[], Iterable[Any]], tuple[Any, Any] | None], None]
    at_epoch: Callable[[Any, int], None]
    found: Callable[[Any], dict[str, float]]


TRAINING = {"rate": Setting(1e-3, 1e-6, 1.0, log=True), "weight_decay": Setting(1e-2, 1e-6, 1.0, log=True)}  # AdamW's


@dataclass(frozen=True)
class Head:
    """What is known of a head. `build(shape, outputs, **settings)` makes a keras.Model: features [batch, *shape]
    float32 in, logits [batch, outputs] float32 out. A `convex` head is one Dense layer, and is solved rather than
    trained. takes: `row`, pooled features, or `places`, maps or token states, where a token's zeros are padding.

    side: of a head that looks at the raw input too: it is built by `build(shape, outputs, raw, **settings)`, and takes
    [features, raw rows].

    settings: what `build` can be given by name, and other defaults than TRAINING's; `given`, what is given, in the
    order asked for. A head that `wants_parts` also takes `parts`, how many of the features each part of a fused
    backbone gives: () where all are one part."""

    name: str
    summary: str
    build: Callable[..., Any]
    convex: bool = False
    computed: Callable[..., tuple[list[NDArray[np.float32]], dict[str, float | str | int]]] | None = None
    takes: str = ROW
    settings: Mapping[str, Setting] = field(default_factory=dict)
    given: tuple[tuple[str, float | int | str], ...] = ()
    wants_parts: bool = False
    side: Side | None = None

    def on(self, parts: tuple[int, ...]) -> "Head":
        """The head for features of these parts."""
        return replace(self, build=partial(self.build, parts=parts)) if self.wants_parts else self

    def made(self, shape: Shape, outputs: int, raw: Raw | None = None) -> Any:
        """The head as it was asked for. raw: what it is given of the raw input, if it looks at that."""
        assert (raw is None) == (self.side is None), f"{self.name} and the raw input"
        more = () if raw is None else (raw,)
        return self.build(shape, outputs, *more, **{name: value for name, value in self.given if name not in TRAINING})

    def known(self) -> dict[str, Setting]:
        """What can be given: the head's own settings, and those of its training unless it is solved."""
        return {**({} if self.convex or self.computed else TRAINING), **self.settings}

    def value(self, name: str) -> Any:
        """A setting as given, or its default."""
        return dict(self.given).get(name, {**TRAINING, **self.settings}[name].default)

    @property
    def asked(self) -> str:
        """The name with its settings, as `head_of` reads it."""
        return ":".join([self.name, *([",".join(f"{name}={value}" for name, value in self.given)] * bool(self.given))])


@cache
def heads() -> dict[str, Head]:
    """Every head here, by name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    found = (importlib.import_module(f"{__name__}.{name}").HEAD for name in modules)
    return {head.name: head for head in found}


def head_of(asked: str) -> Head:
    """The head of a name, or of a name with settings, `mlp:hidden=256,dropout=0.3`. Raises OptionError, with the
    closest name, for one that is not known, and for a setting that is not the head's or out of its range."""
    name, _, words = asked.partition(":")
    if name not in heads():
        raise unknown("head", name, heads())
    head = heads()[name]
    given = []
    for word in filter(None, words.split(",")):
        setting, _, text = word.partition("=")
        if setting not in head.known():
            raise unknown(f"setting of {name}", setting, head.known(), "kerastl heads")
        given.append((setting, _value(f"{name}:{word}", head.known()[setting], text)))
    return replace(head, given=tuple(given))


def _value(said: str, setting: Setting, text: str) -> float | int | str:
    if setting.choices:
        if text not in setting.choices:
            raise OptionError(f"--head {said}", f"one of {', '.join(setting.choices)}", "choose one of them")
        return text
    wanted = f"a {'whole ' if isinstance(setting.default, int) else ''}number from {setting.low:g} to {setting.high:g}"
    try:
        value = type(setting.default)(text)
    except ValueError as error:
        raise OptionError(f"--head {said}", wanted, "change it") from error
    if not setting.low <= float(value) <= setting.high:
        raise OptionError(f"--head {said}", wanted, "change it")
    return value
