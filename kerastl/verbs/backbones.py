"""List the backbones: size, input, licence, and which work offline."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerastl.modality import modality_named
from kerastl.shell.listing import BackboneInfo, Listing, WeightsInfo, list_backbones
from kerastl.shell.terminal import table

LIGHT = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """List the backbones: size, input, licence, and which work offline."""

    json: bool = False  # print the results as one JSON document


def run(config: Config) -> Listing[BackboneInfo]:
    """List the backbones."""
    return list_backbones()


def show(result: Listing[BackboneInfo]) -> str:
    """A table, and below it where weights come from."""
    rows = [("backbone", "input", "features", "parameters", "weights", "offline", "licence")]
    notes, layers = [], []
    for backbone in result.items:
        unit = modality_named(backbone.modality).unit
        size = f"{backbone.size} {unit}" if backbone.size else "by preset"
        parameters = f"{backbone.parameters / 1e6:.1f} M" if backbone.parameters else "by preset"
        for kind, choices in _by_kind(backbone.weights).items():
            licences = {weights.licence for weights in choices}
            rows.append((backbone.name, size, str(backbone.dim or "by preset"), parameters, kind,
                         "yes" if any(weights.path for weights in choices) else "no",
                         licences.pop() if len(licences) == 1 else f"one of {len(licences)}, listed below"))
            flag = "--weights DIR, " if kind == "folder" else ""
            notes += [f"{backbone.name} {kind}: {flag}{weights.origin}" + f"; {weights.licence}" * bool(licences)
                      for weights in choices]
        names = list(backbone.layers)
        if names:
            shown = ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"
            layers.append(f"{backbone.name} feature layers: {shown}")
    return "\n".join([
        table(rows), "", *notes, *layers, "",
        "offline: yes if the weights are on this machine.",
        "weights: by default, the first of a backbone are used. Any backbone also takes --weights none (random, for "
        "tests) or --weights FILE (texts: FOLDER).",
        "hub: takes the name of a KerasHub image preset, for example hub:resnet_18_imagenet."])


def _by_kind(choices: Sequence[WeightsInfo]) -> dict[str, list[WeightsInfo]]:
    """The weights of a backbone by kind: `--weights folder` may stand for several published folders."""
    of_kind: dict[str, list[WeightsInfo]] = {}
    for weights in choices:
        of_kind.setdefault(weights.kind, []).append(weights)
    return of_kind
