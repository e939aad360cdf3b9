"""List the backbones: size, input, licence, and which work offline."""

from dataclasses import dataclass

from kerastl.modality import modality_named
from kerastl.shell.listing import BackboneInfo, Listing, list_backbones
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
        for weights in backbone.weights:
            rows.append((backbone.name, size, str(backbone.dim or "by preset"), parameters, weights.kind,
                         "yes" if weights.path else "no", weights.licence))
            flag = "--weights DIR, " if weights.kind == "folder" else ""
            notes.append(f"{backbone.name} {weights.kind}: {flag}{weights.origin}")
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
