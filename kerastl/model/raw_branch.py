"""The raw input branch: how a head that also takes the raw input gets it."""

from typing import Any

from kerastl.backbones import Backbone
from kerastl.errors import OptionError
from kerastl.heads import Raw
from kerastl.inputs.tokenizer import Tokenizer

RAW_BRANCH = "entrance"  # the branch's name in a spliced model, saved ones included
RAW_SIDE = 64  # pixels


def raw_branch_of(backbone: Backbone) -> Any:
    """The branch that leads the raw input past the backbone to the head: a keras.Model without weights, from what the
    backbone takes to what `heads.Raw` describes. Images are averaged over squares of pixels until no side has more than
    64, and rounded: whole numbers, so that a row kept in bytes is exactly what the model computes.

    Raises OptionError for texts in chunks, which come in several pieces, and for a large backbone, which the head ships
    without."""
    import keras
    from keras import layers, ops

    if backbone.large:
        raise OptionError(f"the head also takes the raw input, but it is exported without {backbone.name}",
                          "a head that takes features only", "choose another: kerastl heads")
    taken = backbone.model.inputs[0]
    inputs = keras.Input(taken.shape[1:], dtype=taken.dtype, name=backbone.input.values_name)
    if backbone.input.single_spec is None:
        raise OptionError("`long` is 'chunks', but the head also takes the raw text", "head or head+tail",
                          "change one of them")
    if backbone.spec.modality.has_length:
        tokens = ops.where(ops.equal(inputs, _tokenizer(backbone).pad), 0, inputs + 1)
        return keras.Model(inputs, tokens, name=RAW_BRANCH)
    step = -(-int(taken.shape[1]) // RAW_SIDE)
    if step == 1:
        return keras.Model(inputs, layers.Identity(name="pixels")(inputs), name=RAW_BRANCH)
    mean = layers.AveragePooling2D(step, padding="same", name="shrink")(inputs)
    # a mean is a multiple of 1 / step^2, so a quarter of that keeps halves and whole numbers clear of rounding errors
    return keras.Model(inputs, ops.floor(mean + (0.5 + 0.25 / step**2)), name=RAW_BRANCH)


def raw_of(backbone: Backbone) -> Raw:
    """The raw input as a head takes it. Raises OptionError as `raw_branch_of` does."""
    shape = tuple(raw_branch_of(backbone).output_shape[1:])
    return Raw(shape, _tokenizer(backbone).size if backbone.spec.modality.has_length else 0)


def _tokenizer(backbone: Backbone) -> Tokenizer:
    source: Any = backbone.input  # of texts, which alone have one
    tokenizer: Tokenizer = source.tokenizer
    return tokenizer
