"""The combinations to compare, checked before any work. Nothing here imports TensorFlow."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from kerastl.backbones import Spec, is_large, precisions_of, spec_of
from kerastl.data.split import UNFREEZE
from kerastl.errors import KerastlError, OptionError, all_of, at_least, broken, expect, one_of
from kerastl.heads import ROW, ConfiguredHead, resolve_head
from kerastl.modality import Modality
from kerastl.runtime import ENGINES, XLA

DEPTHS = tuple(word for word in UNFREEZE if word != "auto")  # what auto does depends on the rows


@dataclass(frozen=True)
class Combination:
    """One line of the table. head: as `--head` takes it. unfreeze: a number of blocks, `all` or `contrast`."""

    backbone: str
    head: str
    unfreeze: str = "0"

    def __str__(self) -> str:
        return f"{self.backbone} + {self.head}" + (f" (unfreeze {self.unfreeze})" if self.unfreeze != "0" else "")

    def to_dict(self) -> dict[str, str]:
        """As `kerastl compare --json` prints it."""
        return asdict(self)


def as_list(name: str, values: Any, kinds: tuple[type, ...] = (str,)) -> list[Any]:
    """An argument that names several things, as a list; a single one may be given by itself. Raises OptionError for an
    empty one, and for items of another type."""
    items = [values] if isinstance(values, (str, int)) else list(values) if isinstance(values, Iterable) else [values]
    if not items:
        raise OptionError(f"`{name}` is empty", "at least one", f"name {name} to compare")
    for item in items:
        expect(kinds, f"a list of {' or '.join(kind.__name__ for kind in kinds)}", **{name: item})
    return items


def combinations_of(backbones: Sequence[str], heads: Sequence[str], unfreeze: Sequence[str], *,
                    weights: Sequence[str] = (), **numbers: Any) -> tuple[tuple[Combination, ...], Modality]:
    """Every combination, and the modality that all backbones are for.

    weights: none, one for all backbones, or one for each. numbers: further arguments of `study.compare` to check.
    Raises one OptionError that lists everything that is wrong.
    """
    faults: list[KerastlError] = []
    specs: list[Spec] = []
    for name in backbones:
        try:
            specs.append(spec_of(name)[0])
        except KerastlError as error:
            faults.append(error)
    if len({spec.modality.name for spec in specs}) > 1:
        nouns = ", ".join(f"{spec.name} is for {spec.modality.nouns}" for spec in specs)
        faults.append(OptionError(f"`backbones` must all be for one modality ({nouns})"))
    faults += _head_faults(heads, [name for name in backbones if is_large(name)])
    for name, values in (("backbones", backbones), ("heads", heads), ("unfreeze", unfreeze)):
        if len(set(values)) < len(values):
            faults.append(OptionError(f"`{name}` must not repeat a value (got {','.join(values)})"))
    depth = "unfreeze", f"a number of blocks, {' or '.join(DEPTHS)}", lambda word: word in DEPTHS or word.isdecimal()
    for word in unfreeze:
        faults += broken([depth], {"unfreeze": word})
    large = [name for name in backbones if is_large(name)]
    if large and list(unfreeze) != ["0"]:
        faults.append(OptionError(f"`unfreeze` must be 0 for {', '.join(large)}, whose weights stay frozen (got "
                                  f"{','.join(unfreeze)})"))
    if "contrast" in unfreeze and (on_places := [head for head in heads if _on_places(head)]):
        faults.append(OptionError(f"`unfreeze=contrast` needs heads that take pooled features only (got "
                                  f"{','.join(on_places)})"))
    if len(weights) not in (0, 1, len(backbones)):
        faults.append(OptionError(f"`weights` must be one for all, or one for each of {len(backbones)} backbones (got "
                                  f"{','.join(weights)})"))
    faults += broken([*at_least(1, "seeds", "limit", "epochs", "batch_size", "min_per_class"),
                      one_of("precision", precisions_of(*backbones)), one_of("xla", XLA),
                      one_of("engine", ENGINES)], numbers)
    if faults:
        raise all_of(faults)
    return tuple(Combination(*values) for values in product(backbones, heads, unfreeze)), specs[0].modality


def _on_places(head: str) -> bool:
    """Whether a head takes more than pooled features. What it cannot resolve is reported by `_head_faults`."""
    try:
        spec = resolve_head(head).spec
    except KerastlError:
        return False
    return spec.takes != ROW or spec.takes_raw


def _head_faults(heads: Sequence[str], large: Sequence[str]) -> list[KerastlError]:
    faults: list[KerastlError] = []
    known: list[ConfiguredHead] = []
    for text in heads:
        try:
            known.append(resolve_head(text))
        except KerastlError as error:
            faults.append(error)
    if large:
        faults += [OptionError(f"`heads` must take features alone with {', '.join(large)} (got {head.text})")
                   for head in known if head.spec.takes_raw]
    return faults
