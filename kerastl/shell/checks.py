"""Checks of a recipe's flags before any work is done: all faults at once, in one error."""

from typing import Any

from kerastl.errors import OptionError
from kerastl.runtime import KEPT, PRECISIONS, XLA
from kerastl.shell.flags import RunConfig


def check_flags(config: RunConfig) -> None:
    """Raises one OptionError that lists every flag whose value cannot be, before any work is done."""
    from kerastl.data.split import MODES, UNFREEZE
    from kerastl.heads import AUTO, parted, resolve_head, to_search
    from kerastl.training.fine_tuning.plan import MIXING, SCHEDULES
    from kerastl.training.options import CLASS_WEIGHTS

    given: dict[str, Any] = dict(vars(config))
    large, precisions = is_large(given.get("backbone")), precisions_of(given.get("backbone"))
    faults = [f"--{name.replace('_', '-')} {given[name]}: {what}" for name, what, right in (
        ("limit", "1 or more", lambda n: n is None or n >= 1), ("epochs", "1 or more", lambda n: n is None or n >= 1),
        ("batch_size", "1 or more", lambda n: n >= 1), ("min_per_class", "1 or more", lambda n: n >= 1),
        ("search", "0 or more", lambda n: n >= 0), ("average", "1 or more", lambda n: n >= 1),
        ("rate", "above 0", lambda x: x is None or 0 < x < 1), ("lora", "0 or more", lambda n: n >= 0),
        ("layer_decay", "above 0, at most 1", lambda x: x is None or 0 < x <= 1),
        ("schedule", f"one of {', '.join(SCHEDULES)}", lambda word: word in SCHEDULES),
        ("mix", f"one of {', '.join(MIXING)}", lambda word: word in MIXING),
        ("seed", "from 0 to 4294967295", lambda n: 0 <= n < 2**32),
        ("label_smoothing", "a share in [0, 1)", lambda x: 0 <= x < 1),
        ("class_weights", f"one of {', '.join(CLASS_WEIGHTS)}", lambda word: word in CLASS_WEIGHTS),
        ("precision", f"one of {', '.join(precisions)}", lambda word: word in precisions),
        ("xla", f"one of {', '.join(XLA)}", lambda word: word in XLA),
        ("split", f"one of {', '.join(MODES)}", lambda word: word in MODES),
        ("unfreeze", f"a number of blocks, or {', '.join(UNFREEZE)}", lambda n: n in UNFREEZE or n.isdecimal()),
    ) if name in given and not right(given[name])]
    if large and given.get("unfreeze", "0") not in ("auto", "0"):
        faults.append(f"--unfreeze {given['unfreeze']} on {given['backbone']}: 0, its weights stay as they are")
    if config.search > 0 and config.split == "cv":
        faults.append("--search with --split cv: give --split holdout; validation rows choose the settings")
    try:
        if config.search > 0:
            to_search(config.head, config.search)
        elif config.head == AUTO or len(parted(config.head)) > 1:
            faults.append(f"--head {config.head}: one head, or --search N to choose among several")
        elif resolve_head(config.head).spec.takes_raw and large:
            faults.append(f"--head {config.head} on {given['backbone']}: a head that takes features alone")
    except OptionError as error:
        faults.append(str(error).replace("\n ", ";"))
    if faults:
        raise OptionError("\n".join(faults), "flags as said", "see the recipe's --help")


def precisions_of(*backbones: str | None) -> tuple[str, ...]:
    """What --precision may be: where one of the backbones is large, also what its weights may be kept in."""
    large = [is_large(name) for name in backbones]
    return PRECISIONS if not any(large) else ("auto", *KEPT) if all(large) else (*PRECISIONS, *KEPT[1:])


def is_large(backbone: str | None) -> bool:
    """Whether a backbone may stay apart from its head. One that is not known is not: it is told when it is loaded."""
    from kerastl.backbones import specs

    return backbone in specs() and specs()[backbone].large
