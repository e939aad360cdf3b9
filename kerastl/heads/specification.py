"""The description of a head (`Head`), and a head with specific settings (`ConfiguredHead`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kerastl.inputs import Shape

ROW, PLACES = "row", "places"  # pooled features; maps or token states
Value = float | int | str


@dataclass(frozen=True)
class Setting:
    """A number or string that configures a head. A number is in [low, high], and searched on a log scale if `log`."""

    default: Value
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()  # of a word


@dataclass(frozen=True)
class Raw:
    """The raw input of an example as a head takes it. shape: of images (side, side, 3), whole numbers in [0, 255]; of
    texts (None,), token numbers from 1 to `symbols`, 0 where there is padding."""

    shape: Shape
    symbols: int = 0


GRADIENT_SETTINGS = {  # of AdamW
    "learning_rate": Setting(1e-3, 1e-6, 1.0, log=True), "weight_decay": Setting(1e-2, 1e-6, 1.0, log=True)}
OLD_NAMES = {"rate": "learning_rate"}  # of settings that were renamed; heads in run.json have them

SOLVED = ("convex", "plain", "joint", "best")  # fitters whose solution does not depend on the seed


@dataclass(frozen=True)
class Head:
    """The description of a head, independent of its settings.

    build: `build(shape, outputs, **settings)` makes a keras.Model: features [batch, *shape] float32 in, logits [batch,
    outputs] float32 out. fitter: how it gets its weights, a name of `kerastl.training.fitters`; `convex` and
    `class_means` are for one Dense layer. takes: `row`, pooled features, or `places`, maps or token states, where the
    zeros of a token state are padding. settings: what `build` can be given by name. training: what the fitter can be
    given. takes_parts: `build` also takes `parts`, the number of features of each part of a fused backbone, () where
    all are one part. takes_raw: the head takes the raw input too; it is built by `build(shape, outputs, raw,
    **settings)`, `raw` being a `Raw`, and takes [features, raw rows]. all_tokens: of a text, the raw input is then all
    tokens, also those that the backbone does not take. chooses: fitting it chooses among other heads; what ships has
    the name of one of these.

    custom: the user's own, which is checked before training. sha256: of the file or the model that it comes from.
    """

    name: str
    summary: str
    build: Callable[..., Any]
    fitter: str = "gradient"
    takes: str = ROW
    settings: Mapping[str, Setting] = field(default_factory=dict)
    training: Mapping[str, Setting] = field(default_factory=lambda: GRADIENT_SETTINGS)
    takes_parts: bool = False
    takes_raw: bool = False
    all_tokens: bool = False
    chooses: bool = False
    custom: bool = False
    sha256: str = ""

    def __repr__(self) -> str:
        return f"Head({self.name}: {self.summary})"

    @property
    def convex(self) -> bool:
        """Whether its training problem is convex, so that the solution does not depend on the seed."""
        return self.fitter in SOLVED

    @property
    def known(self) -> dict[str, Setting]:
        """All of its settings, by name."""
        return {**{self.name_of(name): setting for name, setting in self.training.items()}, **self.settings}

    def name_of(self, setting: str) -> str:
        """The present name of a setting, which may have been given by an older one."""
        return setting if setting in self.settings else OLD_NAMES.get(setting, setting)


@dataclass(frozen=True)
class ConfiguredHead:
    """A head with specific settings, in their order. parts: see `Head.takes_parts`."""

    spec: Head
    settings: tuple[tuple[str, Value], ...] = ()
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple((self.spec.name_of(name), value) for name, value in self.settings))

    def __repr__(self) -> str:
        return f"ConfiguredHead({self.text})"

    def build(self, shape: Shape, outputs: int, raw: Raw | None = None) -> Any:
        """A keras.Model with new weights. raw: the raw input, for a head that looks at it."""
        if (raw is not None) != self.spec.takes_raw:
            verb = "needs" if self.spec.takes_raw else "does not take"
            raise ValueError(f"the head {self.text} {verb} the raw input")
        arguments: dict[str, Any] = {name: value for name, value in self.settings if name in self.spec.settings}
        if self.spec.takes_parts:
            arguments["parts"] = self.parts
        return self.spec.build(shape, outputs, *(() if raw is None else (raw,)), **arguments)

    def setting(self, name: str) -> Any:
        """The value of a setting, or its default."""
        name = self.spec.name_of(name)
        return dict(self.settings).get(name, self.spec.known[name].default)

    def with_settings(self, more: Mapping[str, Value]) -> "ConfiguredHead":
        """The same head with these settings too; they replace those of the same name."""
        return replace(self, settings=tuple(
            {**dict(self.settings), **{self.spec.name_of(name): value for name, value in more.items()}}.items()))

    @property
    def text(self) -> str:
        """The name with the settings, as `resolve_head` reads it: `mlp:hidden=256,dropout=0.3`."""
        settings = ",".join(f"{name}={value}" for name, value in self.settings)
        return f"{self.spec.name}:{settings}" if settings else self.spec.name


# A name with or without settings, a file of the user's, a keras.Model, or a callable (shape, outputs) -> keras.Model
HeadLike = str | Head | ConfiguredHead | Callable[[Shape, int], Any]
