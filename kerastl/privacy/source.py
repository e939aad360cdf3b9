"""Data and backbone of a private run: what is otherwise chosen by looking at the data has a fixed value."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.backbones import Backbone, load
from kerastl.data.examples import Examples
from kerastl.data.options import NONE, ReadOptions
from kerastl.features.lengths import fixed_length
from kerastl.modality import Modality


def read_privately(modality: Modality, arguments: Mapping[str, Any], cache_dir: Path) -> Examples:
    """The labelled rows of a run's source, all of them: no class is skipped for its size, no split of the source is
    used. Nothing is printed of them."""
    options = replace(ReadOptions.of(arguments), split_column=NONE, multi_label="off")
    read = modality.load(modality.reader, "read_labelled")
    examples: Examples = read(str(arguments["data"]), options=options, min_per_class=0,
                              data_dir=arguments["data_dir"], cache_dir=cache_dir)
    return examples


def private_backbone(modality: Modality, arguments: Mapping[str, Any]) -> Backbone:
    """The backbone of a run's arguments; the length of texts is given or fixed."""
    names = ("precision", "pickles", "pooling", "accept_truncated")
    backbone = load(arguments["backbone"], arguments["weights"], modality=modality.name, layer=arguments["layer"],
                    **{name: arguments[name] for name in names if name in arguments})
    if not modality.has_length:
        return backbone
    pair = "," in (arguments["text_column"] or "")
    return fixed_length(backbone, pair, arguments["max_length"], arguments["long"])
