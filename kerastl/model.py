"""Splicing backbone and head into one model, freezing it, and BatchNorm: all of it is here and nowhere else."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import NO_POOLING, Backbone
from kerastl.errors import OptionError
from kerastl.heads import ROW, Raw
from kerastl.heads._several import heads_of
from kerastl.inputs import Batch, floats
from kerastl.inputs.tokenizer import Tokenizer

RAW_BRANCH = "entrance"  # the name of a spliced model's part that leads the raw input past the backbone
RAW_SIDE = 64  # pixels


def pooling_for(head: str, pooling: str = "mean") -> str:
    """How a backbone's features are to be pooled for a head: as asked, or not at all when it takes maps or token
    states. Raises OptionError for an unknown head, and for `none` with a head that takes rows."""
    if heads_of(head)[0].takes != ROW:
        return NO_POOLING
    if pooling == NO_POOLING:
        raise OptionError(f"--pooling none with the head {head}, which takes pooled features", "mean, cls or pooled",
                          "leave it out, or choose a head that takes token states")
    return pooling


def splice(backbone: Backbone, head: Any) -> Any:
    """One keras.Model: what the backbone takes (see `backbones.Network`) -> logits [batch, outputs] float32.

    The backbone is frozen. A head that looks at the raw input too gets it by an entrance of its own. Of a large
    backbone (see `backbones.Large`) the model takes features: in its place stands a network that lets them through.
    Raises OptionError when the head takes features of another shape.
    """
    import keras

    wanted = tuple(head.inputs[0].shape[1:])
    if wanted != backbone.shape:
        raise OptionError(f"a head for features {wanted} on {backbone.name}", f"a head for features {backbone.shape}",
                          "build it with the backbone's shape")
    if backbone.large:
        return _alone(head)
    freeze(backbone.model)
    taken = backbone.model.inputs[0]
    inputs = keras.Input(taken.shape[1:], dtype=taken.dtype, name=backbone.input.values_name)
    features = backbone.model(inputs, training=False)
    logits = head(features if len(head.inputs) == 1 else [features, raw_branch_of(backbone)(inputs)])
    return keras.Model(inputs, logits, name=f"{backbone.model.name}_{head.name}")


def _alone(head: Any) -> Any:
    import keras

    inputs, through = (keras.Input(head.inputs[0].shape[1:], name="features") for _ in range(2))
    stand_in = keras.Model(through, keras.layers.Identity(name="through")(through), name="backbone_apart")
    return keras.Model(inputs, head(stand_in(inputs)), name=f"{head.name}_alone")


def raw_branch_of(backbone: Backbone) -> Any:
    """What leads the raw input past the backbone to the head: a keras.Model without weights, from what the backbone
    takes to what `heads.Raw` says. Images are averaged over squares of pixels until no side has more than 64, and
    rounded: whole numbers, so that a row kept in a byte is what the model computes, to the bit. Raises OptionError for
    texts in chunks, which come in several pieces, and for a large backbone, which the head ships without."""
    import keras
    from keras import layers, ops

    if backbone.large:
        raise OptionError(f"a head that looks at the raw input too, on {backbone.name}, which it ships without",
                          "a head that takes features alone", "choose another: kerastl heads")
    taken = backbone.model.inputs[0]
    inputs = keras.Input(taken.shape[1:], dtype=taken.dtype, name=backbone.input.values_name)
    if backbone.input.single_spec is None:
        raise OptionError("--long chunks with a head that looks at the raw text", "head or head+tail",
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
    """What a head is given of the raw input. Raises OptionError as `raw_branch_of` does."""
    shape = tuple(raw_branch_of(backbone).output_shape[1:])
    return Raw(shape, _tokenizer(backbone).size if backbone.spec.modality.has_length else 0)


def _tokenizer(backbone: Backbone) -> Tokenizer:
    source: Any = backbone.input  # of texts, which alone have one
    tokenizer: Tokenizer = source.tokenizer
    return tokenizer


def freeze(model: Any) -> None:
    """No weight of the model trains, and BatchNorm uses its stored statistics."""
    model.trainable = False


def unfreeze(backbone: Backbone, n: int) -> list[str]:
    """Let the last `n` blocks of a backbone train; BatchNorm keeps its stored statistics and does not.

    Returns the names of the layers that train. Raises OptionError when there are fewer blocks than that.
    """
    import keras

    found = blocks(backbone)
    if n > len(found):
        raise OptionError(f"--unfreeze {n}", f"at most {len(found)}, the blocks of {backbone.name}", "unfreeze fewer")
    chosen = {id(layer) for block in found[len(found) - n:] for layer in block}
    backbone.model.trainable = True  # a frozen parent freezes all below, so the leaves decide
    names = []
    for layer in leaves(backbone.model):
        layer.trainable = id(layer) in chosen
        for part in layer._flatten_layers():  # also those inside KerasHub's composite layers; Keras has no public walk
            if isinstance(part, keras.layers.BatchNormalization):
                part.trainable = False
        if layer.trainable_weights:
            names.append(layer.name)
    return names


def blocks(backbone: Backbone) -> list[list[Any]]:
    """The backbone's layers that have weights, in blocks from input to output. Layers whose names begin with the same
    match of the spec's pattern are one block; a layer without a match goes with the block before it.

    Of a fused backbone, the last blocks of its parts are one block, so are those before them, and so on: what is
    unfrozen, or learns slower, lies equally deep in each."""
    if not backbone.spec.parts:
        return _blocks(backbone.model, backbone.spec.blocks)
    networks = [layer for layer in backbone.model.layers if hasattr(layer, "layers")]
    each = [_blocks(network, spec.blocks)[::-1] for network, spec in zip(networks, backbone.spec.parts, strict=True)]
    return [list(itertools.chain(*level)) for level in itertools.zip_longest(*each, fillvalue=[])][::-1]


def _blocks(network: Any, names: str) -> list[list[Any]]:
    pattern = re.compile(names)
    found: list[list[Any]] = [[]]
    current = ""
    for layer in leaves(network):
        match = pattern.match(layer.name)
        if match and match.group() != current:
            current = match.group()
            found.append([])
        if layer.weights:
            found[-1].append(layer)
    return [block for block in found if block]


def leaves(model: Any) -> Iterator[Any]:
    """The layers of a model in order; those of models nested in it, and of stacks of blocks, in their place."""
    for layer in model.layers if hasattr(model, "layers") else model._layers:
        if hasattr(layer, "layers") or _is_stack(layer):
            yield from leaves(layer)
        else:
            yield layer


def _is_stack(layer: Any) -> bool:
    """Whether a layer is several composite layers of one kind in a row, as the encoder of a vision transformer is."""
    kinds = [type(part) for part in layer._layers if part._layers]
    return len(kinds) > len(set(kinds))


class Parts(NamedTuple):
    """Of a spliced model. entrance: None where the head takes features alone."""

    backbone: Any
    head: Any
    entrance: Any

    def logits(self, features: Any, values: Any) -> Any:
        """The head's answer, [batch, outputs]. values: what the features are of, as `inputs.floats` gives them."""
        from keras import ops

        if self.entrance is None:
            return self.head(features, training=False)
        return self.head([ops.convert_to_tensor(features), self.entrance(values, training=False)], training=False)


def parts_of(model: Any) -> Parts:
    """The parts of a spliced model."""
    _, *parts = model.layers
    entrance = next((part for part in parts if part.name == RAW_BRANCH), None)
    backbone, head = (part for part in parts if part is not entrance)
    return Parts(backbone, head, entrance)


class Predictor:
    """A spliced model in one graph for batches of any size and length: Keras' own predict makes one for each."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        self._parts = parts_of(model)
        backbone = self._parts.backbone
        spec = [tf.TensorSpec(backbone.input_shape, backbone.inputs[0].dtype)]
        self._features = tf.function(lambda values: backbone(values, training=False), input_signature=spec,
                                     autograph=False)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch of examples, [rows, outputs]. Of a row in several pieces the features are averaged before
        the head."""
        values = floats(batch.values)
        features = batch.merged(np.asarray(self._features(values), np.float32))
        return np.asarray(self._parts.logits(features, values), np.float32)


def predict_logits(model: Any, inputs: Any, batch_size: int = 1024) -> NDArray[np.float32]:
    """A model's outputs for many inputs, batch by batch. inputs: [n, ...], or a list of such for a head that takes
    several -> [n, outputs] float32."""
    several = inputs if isinstance(inputs, list) else [inputs]
    parts = []
    for i in range(0, len(several[0]), batch_size):
        batch = [part[i:i + batch_size] for part in several]
        parts.append(np.asarray(model(batch if len(batch) > 1 else batch[0], training=False), np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)
