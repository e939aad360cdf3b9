"""Splicing backbone and head into one model, freezing it, and BatchNorm: all of it is here and nowhere else."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import NO_POOLING, Backbone
from kerastl.errors import OptionError
from kerastl.heads import ROW
from kerastl.heads._several import heads_of
from kerastl.inputs import Batch, floats


@dataclass(frozen=True)
class Answers:
    """What a model said of some rows, which it was not fitted on. logits: [len(rows), classes] float32."""

    rows: NDArray[np.intp]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """How logits become answers: they are divided by `temperature`; of several labels, those hold whose probability
    reaches their class's threshold. `thresholds` is empty where one label is given."""

    temperature: float
    thresholds: tuple[float, ...] = ()


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

    The backbone is frozen. Raises OptionError when the head takes features of another shape.
    """
    import keras

    if tuple(head.input_shape[1:]) != backbone.shape:
        raise OptionError(f"a head for features {head.input_shape[1:]} on {backbone.name}",
                          f"a head for features {backbone.shape}", "build it with the backbone's shape")
    freeze(backbone.model)
    taken = backbone.model.inputs[0]
    inputs = keras.Input(taken.shape[1:], dtype=taken.dtype, name=backbone.input.values)
    logits = head(backbone.model(inputs, training=False))
    return keras.Model(inputs, logits, name=f"{backbone.model.name}_{head.name}")


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


def parts_of(model: Any) -> tuple[Any, Any]:
    """The backbone and the head of a spliced model."""
    _, backbone, head = model.layers
    return backbone, head


class Answerer:
    """A spliced model in one graph for batches of any size and length: Keras' own predict makes one for each."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        backbone, self._head = parts_of(model)
        spec = [tf.TensorSpec(backbone.input_shape, backbone.inputs[0].dtype)]
        self._features = tf.function(lambda values: backbone(values, training=False), input_signature=spec,
                                     autograph=False)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch of examples, [rows, outputs]. Of a row in several pieces the features are averaged before
        the head."""
        features = batch.merged(np.asarray(self._features(floats(batch.values)), np.float32))
        return np.asarray(self._head(features, training=False), np.float32)


def answers_of(model: Any, inputs: NDArray[Any], batch_size: int = 1024) -> NDArray[np.float32]:
    """A model's outputs for many inputs, batch by batch. inputs: [n, ...] -> [n, outputs] float32."""
    parts = [np.asarray(model(inputs[i:i + batch_size], training=False), np.float32)
             for i in range(0, len(inputs), batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)
