"""Activation maps (Zhou et al. 2016, https://arxiv.org/abs/1512.04150). Where a network ends in the mean of a map and
the head is linear, the logit of a class is the mean of the map times the head's kernel, plus the bias. So the share of
each place in the logit is known, and no approximation is involved."""

from dataclasses import dataclass
from typing import Any

from kerastl.model import Parts


@dataclass(frozen=True)
class ActivationMaps:
    """The parts of a model whose logits are sums over places. dense: a Keras layer, whose kernel is [dim, classes] and
    whose bias [classes]. plain: a keras.Model from the raw input to logits that the head adds; None if there are
    none."""

    network: Any  # keras.Model: what the backbone takes -> the map that it averages, [batch, height, width, dim]
    dense: Any
    plain: Any

    def contributions(self, maps: Any) -> Any:
        """What each place adds to each logit: [batch, height, width, dim] -> [batch, height, width, classes]. Their
        sum, the bias and the plain part are the logits."""
        from keras import ops

        shape = ops.shape(maps)
        rows = ops.matmul(ops.reshape(maps, (-1, maps.shape[-1])), self.dense.kernel)
        return ops.reshape(rows, (shape[0], shape[1], shape[2], -1)) / (maps.shape[1] * maps.shape[2])


def activation_maps(parts: Parts) -> ActivationMaps | None:
    """The maps of a model; None where the backbone does not end in the mean of a map, or the head is not linear in it,
    so that no part of the logits belongs to a place."""
    network, (dense, plain) = averaged_map(parts.backbone), linear_parts(parts.head)
    return None if network is None or dense is None else ActivationMaps(network, dense, plain)


def averaged_map(backbone: Any) -> Any:
    """The network up to the map that it averages; None for one that ends otherwise. backbone: a keras.Model."""
    import keras

    last = backbone.layers[-1]
    if not isinstance(last, keras.layers.GlobalAveragePooling2D) or last.keepdims:
        return None
    maps = last.input
    if last.data_format != "channels_last" or None in maps.shape[1:]:
        return None
    return keras.Model(backbone.inputs, maps, name=f"{backbone.name}_map")


def linear_parts(head: Any) -> tuple[Any, Any]:
    """The only Dense layer of a head that takes the features as they are, and the model of the plain logits that the
    head adds, if it does. None twice for a head that is not linear in the features."""
    import keras

    layers = [layer for layer in head.layers if not isinstance(layer, keras.layers.InputLayer)]
    if len(head.inputs) == 1 and len(layers) == 1 and _is_linear(layers[0]):
        return layers[0], None
    named = {layer.name: layer for layer in layers}
    if len(head.inputs) == 2 and isinstance(named.get("logits"), keras.layers.Add) and _is_linear(named.get("linear")):
        return named["linear"], plain_part(head)
    return None, None


def plain_part(head: Any) -> Any:
    """Of a head that adds logits of the raw input, the model of these: raw rows -> [batch, classes]. None for others,
    also for one whose logits come from the raw input alone."""
    import keras

    named = {layer.name: layer for layer in head.layers}
    if len(head.inputs) != 2 or not isinstance(named.get("logits"), keras.layers.Add) or "plain" not in named:
        return None
    return keras.Model(head.inputs[1], named["plain"].output, name="plain_part")


def _is_linear(layer: Any) -> bool:
    import keras

    return (isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear and layer.use_bias
            and layer.kernel.shape[0] == layer.input.shape[-1] and len(layer.input.shape) == 2)
