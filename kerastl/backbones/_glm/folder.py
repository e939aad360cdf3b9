"""A GLM backbone, from a published folder or with random weights, in memory or streamed from disk."""

from dataclasses import replace
from pathlib import Path

from kerastl.backbones import NO_POOLING, TOP, BuildOptions, Large, Network
from kerastl.backbones._glm import memory_plan
from kerastl.backbones._glm.checkpoint import open_checkpoint
from kerastl.backbones._glm.config import read_sizes
from kerastl.backbones._glm.layers import BLOCK
from kerastl.backbones._glm.network import compute_type, made
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._glm.stream import Streamed
from kerastl.backbones._text_network import network
from kerastl.errors import OptionError, unknown
from kerastl.runtime import free_memory

POOLINGS = ("mean", "last", NO_POOLING)


def build(options: BuildOptions, *, name: str, sizes: Sizes) -> Network:
    """tokens: [batch, length] int32 -> features [batch, dim] float32, with the tokenizer that makes the tokens.

    sizes: of the network with random weights; a folder has its own.
    Raises WeightsError for a folder that is not one of the family, OptionError for an unknown pooling, layer or
    precision, and if not even a single block fits in memory.
    """
    from kerastl.inputs import vocabulary

    if options.pooling not in POOLINGS:
        raise OptionError(f"`pooling` is {options.pooling} for {name}", f"one of {', '.join(POOLINGS)}",
                          "omit `pooling` for mean; in a causal network the first token depends on no other")
    checkpoint = None
    if options.weights == "none":
        tokenizer = vocabulary.synthetic("glm", sizes.vocabulary)
    else:
        path = Path(options.weights)
        sizes, layout = read_sizes(path)
        tokenizer = vocabulary.read(path)
        vocabulary.check_size(tokenizer, sizes.vocabulary, str(path))
        checkpoint = open_checkpoint(path, sizes, layout, pickles=options.pickles)
    blocks = _blocks(options.layer, sizes)
    used = replace(sizes, layers=blocks)  # blocks above the feature layer are neither read nor stored
    stored = checkpoint.number_bytes if checkpoint else 4
    plan = memory_plan.choose(used, options.precision, free_memory(), name, stored)
    large = None
    if plan.streamed or plan.kept != "float32" or memory_plan.weight_bytes(used, "float32") > memory_plan.WHOLE:
        large = Large(plan.kept, _computed(plan.kept), memory_plan.parameters(used),
                      memory_plan.weight_bytes(used, plan.kept), plan.reason)
        print(plan.reason, flush=True)
    digest = checkpoint.fingerprint() if checkpoint else ""  # independent of how this machine stores the weights
    if not plan.streamed:
        backbone = made(used, checkpoint, plan.kept, compute_type(plan.kept))
        model = network(backbone, pad=tokenizer.pad, separator=None, pooling=options.pooling, pooler=False, name=name,
                        layers=["" if blocks == sizes.layers else BLOCK.format(blocks - 1)])
        return Network(model, tokenizer, sizes.length, large=large, hash=digest)
    if checkpoint is None:
        raise OptionError(f"`weights` is none for {name}, which does not fit in memory", "a folder to stream from",
                          "set `precision` to int4, or `weights` to a folder")
    streamed = Streamed(sizes, checkpoint, plan.kept, compute_type(plan.kept), blocks=blocks, pad=tokenizer.pad,
                        pooling=options.pooling, name=name)
    return Network(streamed, tokenizer, sizes.length, large=large, hash=digest)


def _blocks(layer: str, sizes: Sizes) -> int:
    """The number of blocks up to a feature layer. Raises OptionError for an unknown one."""
    layers = [f"layer_{number}" for number in range(1, sizes.layers)]
    if layer not in (TOP, *layers):
        raise unknown("layer", layer, [TOP, *layers], "kerastl backbones")
    return sizes.layers if layer == TOP else int(layer.removeprefix("layer_"))


def _computed(kept: str) -> str:
    """The storage type, and the type that is multiplied in if it differs; these determine the features."""
    return kept if kept == compute_type(kept) else f"{kept} in {compute_type(kept)}"
