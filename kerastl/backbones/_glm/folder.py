"""A GLM backbone from a folder as published, or random at its true size: in memory, or streamed from disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import NO_POOLING, TOP, Large, Network, Wanted
from kerastl.backbones._glm import room
from kerastl.backbones._glm.checkpoint import Checkpoint, open_checkpoint
from kerastl.backbones._glm.config import COUNTS, read_sizes
from kerastl.backbones._glm.names import shapes
from kerastl.backbones._glm.network import BLOCK, GlmBackbone, arguments, set_tensor
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._glm.stream import Streamed
from kerastl.backbones._text_network import network
from kerastl.backbones._weight_files import read_config
from kerastl.errors import OptionError, WeightsError, unknown
from kerastl.runtime import cpu_has_bfloat16, free_memory, has_gpu

POOLINGS = ("mean", "last", NO_POOLING)


def build(wanted: Wanted, *, name: str, sizes: Sizes) -> Network:
    """tokens: [batch, length] int32 -> features [batch, dim] float32, and the tokenizer that the tokens come from.

    sizes: of the random network that weights `none` ask for; of a folder, its own.
    Raises WeightsError for a folder that is not one of the family, OptionError for a pooling, tap or precision that
    there is not, and when not even a block of it fits in memory.
    """
    from kerastl.inputs import vocabulary

    if wanted.pooling not in POOLINGS:
        raise OptionError(f"--pooling {wanted.pooling} for {name}", f"one of {', '.join(POOLINGS)}",
                          "leave it out for mean: a causal network's first token has seen nothing")
    checkpoint = None
    if wanted.weights == "none":
        tokenizer = vocabulary.made("glm", sizes.vocabulary)
    else:
        path = Path(wanted.weights)
        sizes, layout = read_sizes(path)
        tokenizer = vocabulary.read(path)
        vocabulary.check_size(tokenizer, sizes.vocabulary, str(path))
        checkpoint = open_checkpoint(path, sizes, layout, pickles=wanted.pickles)
    blocks = _blocks(wanted.tap, sizes)
    used = replace(sizes, layers=blocks)  # what is above a tap is neither read nor kept
    chosen = room.choose(used, wanted.precision, free_memory(), name, checkpoint.number_bytes if checkpoint else 4)
    large = None
    if chosen.streamed or chosen.kept != "float32" or room.weight_bytes(used, "float32") > room.WHOLE:
        large = Large(chosen.kept, _computed(chosen.kept), room.parameters(used),
                      room.weight_bytes(used, chosen.kept), chosen.word)
        print(chosen.word, flush=True)
    digest = checkpoint.fingerprint() if checkpoint else ""  # the same on a machine where they are kept otherwise
    if not chosen.streamed:
        backbone = made(used, checkpoint, chosen.kept, compute_type(chosen.kept))
        model = network(backbone, pad=tokenizer.pad, separator=None, pooling=wanted.pooling, pooler=False, name=name,
                        layer="" if blocks == sizes.layers else BLOCK.format(blocks - 1))
        return Network(model, tokenizer, sizes.length, large=large, hash=digest)
    if checkpoint is None:
        raise OptionError(f"--weights none for {name}, which does not fit in memory", "a folder to stream from",
                          "give --precision int4, or --weights DIR")
    streamed = Streamed(sizes, checkpoint, chosen.kept, compute_type(chosen.kept), blocks=blocks, pad=tokenizer.pad,
                        pooling=wanted.pooling, name=name)
    return Network(streamed, tokenizer, sizes.length, large=large, hash=digest)


def _blocks(tap: str, sizes: Sizes) -> int:
    """How many blocks a tap is above. Raises OptionError for one that there is not."""
    taps = [f"layer_{number}" for number in range(1, sizes.layers)]
    if tap not in (TOP, *taps):
        raise unknown("tap", tap, [TOP, *taps], "kerastl backbones")
    return sizes.layers if tap == TOP else int(tap.removeprefix("layer_"))


def compute_type(kept: str) -> str:
    """What a network computes in: bfloat16 where its weights are no more exact and the hardware multiplies it."""
    return "bfloat16" if kept != "float32" and (cpu_has_bfloat16() or has_gpu()) else "float32"


def _computed(kept: str) -> str:
    """What decides the rows, in words."""
    return kept if kept == compute_type(kept) else f"{kept} in {compute_type(kept)}"


def made(sizes: Sizes, checkpoint: Checkpoint | None, kept: str, compute: str) -> GlmBackbone:
    """The network with its weights; random ones without a checkpoint."""
    backbone = GlmBackbone(**arguments(sizes), kept=kept, dtype=compute)
    if checkpoint is None and kept == "float32":
        return backbone  # Keras' own random weights
    tensors = checkpoint.tensors(shapes(sizes)) if checkpoint else random_tensors(sizes)
    fill(backbone, tensors)
    return backbone


def fill(backbone: Any, tensors: Iterator[tuple[str, NDArray[Any]]]) -> None:
    """Set every weight, one tensor in memory at a time."""
    for name, tensor in tensors:
        layer, _, part = name.partition("/")
        layer = BLOCK.format(layer.removeprefix("layer_")) if part else layer
        set_tensor(backbone.get_layer(layer), part, tensor)
        del tensor  # before the next one is read


def random_tensors(sizes: Sizes, seed: int = 0) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Random weights, the same each time: kernels whose outputs have about the size of their inputs, norms of 1.
    [outputs, inputs] each."""
    generator = np.random.default_rng(seed)
    for name, shape in shapes(sizes).items():
        if name.endswith("norm"):
            yield name, np.ones(shape, np.float32)
        elif name.endswith("_bias"):
            yield name, np.zeros(shape, np.float32)
        else:
            tensor = generator.standard_normal(shape, np.float32)
            tensor *= np.float32(shape[-1] ** -0.5)
            yield name, tensor


def is_published(folder: str) -> bool:
    """Whether a path is a folder of the family as published, which its config.json says."""
    try:
        return read_config(Path(folder)).get("model_type") in list(COUNTS)
    except WeightsError:  # a preset's name, or a folder of another kind
        return False


def backbone_from(folder: str, load_weights: bool = True, *, kept: str = "float32", dtype: Any = None) -> GlmBackbone:
    """A published folder's network in memory. Raises WeightsError for what is not one of the family."""
    sizes, layout = read_sizes(Path(folder))
    if not load_weights:
        return GlmBackbone(**arguments(sizes), kept=kept, dtype=dtype)
    checkpoint = open_checkpoint(Path(folder), sizes, layout)
    return made(sizes, checkpoint, kept, dtype or compute_type(kept))
