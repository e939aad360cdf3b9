"""A GLM backbone of the kit, from a folder as published or random at its true size: in memory, or streamed."""

from dataclasses import replace
from pathlib import Path

from kerastl.backbones import NO_POOLING, TOP, Large, Network, Wanted
from kerastl.backbones._glm import memory_plan as room
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


def _computed(kept: str) -> str:
    """What decides the rows, in words."""
    return kept if kept == compute_type(kept) else f"{kept} in {compute_type(kept)}"
