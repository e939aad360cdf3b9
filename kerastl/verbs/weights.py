"""Download pretrained weights that are published as a Python package."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from kerastl.shell.listing import DownloadedWeights, WeightsList, download_weights
from kerastl.shell.terminal import table

LIGHT = True


@dataclass(frozen=True)
class Config:
    """Download the pretrained weights of a backbone, or list the backbones whose weights can be downloaded."""

    backbone: Annotated[Positional[str | None], arg(metavar="[BACKBONE]")] = None  # default: list the backbones
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> DownloadedWeights | WeightsList:
    """Where the weights of the backbone are now; without a backbone, the list."""
    return download_weights(config.backbone)


def show(result: DownloadedWeights | WeightsList) -> str:
    """The folder, or a table of the backbones."""
    if isinstance(result, DownloadedWeights):
        return f"the weights of {result.backbone} are in {result.folder}"
    rows = [("backbone", "here", "licence", "from")]
    rows += [(name, "yes" if weights.path else "no", weights.licence, weights.origin)
             for name, weights in result.weights]
    return f"{table(rows)}\n\nRun 'kerastl weights BACKBONE' to download them"
