"""Finds backbones by name: the files of this folder, presets, fused backbones, and files of the user."""

import difflib
import importlib
import pkgutil
from functools import cache

import kerastl.backbones
from kerastl.backbones._spec import Spec, Weights
from kerastl.backbones._user_file import is_file_name, spec_of_file
from kerastl.errors import OptionError
from kerastl.runtime import KEPT, PRECISIONS


@cache
def specs() -> dict[str, Spec]:
    """Every backbone of this package, by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(kerastl.backbones.__path__)
                     if not module.name.startswith("_"))
    available = (importlib.import_module(f"kerastl.backbones.{module}").SPEC for module in modules)
    return {spec.name: spec for spec in available}


def spec_of(name: str) -> tuple[Spec, str]:
    """The spec of a name, and the preset after the colon. A name is one of `specs`, several joined by +, or the path
    of a Python file that defines `SPEC`.

    Raises OptionError for an unknown name, or a file that defines no usable `SPEC`.
    """
    if is_file_name(name):
        return spec_of_file(name), ""
    family, colon, preset = name.partition(":")
    if "+" in family:
        from kerastl.backbones import _fusion

        return _fusion.spec_for(name), ""
    if family + colon not in specs():
        raise _unknown(name)
    return specs()[family + colon], preset


def published_weights(name: str) -> tuple[Weights, ...]:
    """The weights that are published for the backbone of a run record; none for a user's own file."""
    try:
        return spec_of(name)[0].weights
    except OptionError:
        return ()


def on_this_machine() -> list[str]:
    """Names of the backbones whose pretrained weights are here, so that they work offline."""
    return [spec.name for spec in specs().values() if any(weights.find() for weights in spec.weights)]


def _unknown(name: str) -> OptionError:
    close = difflib.get_close_matches(name, specs(), n=1, cutoff=0.5)
    offline = on_this_machine()
    hint = f"did you mean {close[0]!r}?" if close else (
        f"choose one of them; these work offline, because their weights are on this machine: {', '.join(offline)}"
        if offline else "choose one of them: kerastl backbones")
    names = [f"{known}PRESET" if known.endswith(":") else known for known in specs()]
    return OptionError(f"unknown backbone {name!r}", f"one of {', '.join(names)}, or the path of a .py file", hint)


def is_large(name: str | None) -> bool:
    """Whether a backbone is exported without its head, by its name. An unknown name is not: `load` reports that."""
    return name in specs() and specs()[name].large


def precisions_of(*names: str | None) -> tuple[str, ...]:
    """What `precision` may be for all of these backbones. The weights of large ones can be kept in fewer bits."""
    large = [is_large(name) for name in names]
    return PRECISIONS if not any(large) else ("auto", *KEPT) if all(large) else (*PRECISIONS, *KEPT[1:])
