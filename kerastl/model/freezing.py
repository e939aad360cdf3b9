"""Freezing and unfreezing of a backbone's weights. BatchNorm is always frozen."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from kerastl.backbones import Backbone
from kerastl.errors import OptionError


def freeze(model: Any) -> None:
    """No weight of the model trains, and BatchNorm uses its stored statistics."""
    model.trainable = False


def unfreeze(backbone: Backbone, n: int) -> list[str]:
    """Let the last `n` blocks of a backbone train; BatchNorm keeps its stored statistics and does not train.

    Returns the names of the layers that train. Raises OptionError when there are fewer blocks than that.
    """
    import keras

    all_blocks = blocks(backbone)
    n = block_count(backbone, n)
    chosen = {id(layer) for block in all_blocks[len(all_blocks) - n:] for layer in block}
    backbone.model.trainable = True  # a frozen parent freezes all below, so the leaves decide
    names = []
    for layer in leaves(backbone.model):
        layer.trainable = id(layer) in chosen
        for part in layer._flatten_layers():  # also those in KerasHub's composite layers; Keras has no public walk
            if isinstance(part, keras.layers.BatchNormalization):
                part.trainable = False
        if layer.trainable_weights:
            names.append(layer.name)
    return names


def block_count(backbone: Backbone, unfreeze: int | str) -> int:
    """The number of blocks that `unfreeze` stands for: a number, or `all`. Raises OptionError when the backbone has
    fewer, and for any other word."""
    total = len(blocks(backbone))
    if unfreeze == "all":
        return total
    if not str(unfreeze).isdecimal():
        raise OptionError(f"`unfreeze` is {unfreeze}", f"a number of blocks, at most {total} for {backbone.name}, or "
                          "all", "blocks are counted from the output: 1 is the last one")
    if int(unfreeze) > total:
        raise OptionError(f"`unfreeze` is {unfreeze}", f"at most {total}, the number of blocks of {backbone.name}, "
                          "or all", "unfreeze fewer blocks")
    return int(unfreeze)


def blocks(backbone: Backbone) -> list[list[Any]]:
    """The backbone's layers that have weights, in blocks from input to output. Layers whose names begin with the same
    match of the spec's pattern are one block; a layer without a match belongs to the block before it.

    In a fused backbone, the last blocks of its parts are one block, so are those before them, and so on: what is
    unfrozen, or learns more slowly, is equally deep in each."""
    if not backbone.spec.parts:
        return _blocks(backbone.model, backbone.spec.blocks)
    networks = [layer for layer in backbone.model.layers if hasattr(layer, "layers")]
    of_parts = [_blocks(network, spec.blocks)[::-1]
                for network, spec in zip(networks, backbone.spec.parts, strict=True)]
    return [list(itertools.chain(*level)) for level in itertools.zip_longest(*of_parts, fillvalue=[])][::-1]


def _blocks(network: Any, names: str) -> list[list[Any]]:
    pattern = re.compile(names)
    grouped: list[list[Any]] = [[]]
    current = ""
    for layer in leaves(network):
        match = pattern.match(layer.name)
        if match and match.group() != current:
            current = match.group()
            grouped.append([])
        if layer.weights:
            grouped[-1].append(layer)
    return [block for block in grouped if block]


def leaves(model: Any) -> Iterator[Any]:
    """The layers of a model in order; those of models nested in it, and of stacks of blocks, in their place."""
    for layer in model.layers if hasattr(model, "layers") else model._layers:
        if hasattr(layer, "layers") or _is_stack(layer):
            yield from leaves(layer)
        else:
            yield layer


def _is_stack(layer: Any) -> bool:
    """Whether a layer is a sequence of composite layers of one type, as the encoder of a vision transformer is."""
    types = [type(part) for part in layer._layers if part._layers]
    return len(types) > len(set(types))
