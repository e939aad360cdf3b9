"""Splicing a backbone and a head into one model, and taking it apart again."""

from typing import Any, NamedTuple

from kerastl.backbones import BACKBONE, NO_POOLING, Backbone
from kerastl.errors import OptionError, expect
from kerastl.heads import ROW, HeadLike, heads_of
from kerastl.model.freezing import freeze
from kerastl.model.raw_branch import RAW_BRANCH, raw_branch_of


def pooling_for(head: HeadLike, pooling: str = "mean") -> str:
    """How the backbone's features are pooled for a head: as asked, or not at all when it takes feature maps or token
    states. Raises OptionError for an unknown head, and for `none` with a head that takes pooled features."""
    if heads_of(head)[0].spec.takes != ROW:
        return NO_POOLING
    if pooling == NO_POOLING:
        raise OptionError(f"`pooling` is 'none', but the head {heads_of(head)[0].text} takes pooled features",
                          "mean, cls or pooled", "omit `pooling`, or choose a head that takes token states")
    return pooling


def splice(backbone: Backbone, head: Any) -> Any:
    """One keras.Model: what the backbone takes (see `backbones.Network`) -> logits [batch, outputs] float32.

    The backbone is frozen. A head that also takes the raw input gets it by a branch of its own. For a large
    backbone (see `backbones.Large`) the model takes features: a network that passes them through stands in its place.
    Raises OptionError when the head takes features of another shape.
    """
    import keras

    expect(Backbone, BACKBONE, backbone=backbone)
    expect(keras.Model, "a fitted head, as a keras.Model", head=head)
    received = tuple(head.inputs[0].shape[1:])
    if len(received) != len(backbone.shape) or any(size not in (None, other) for size, other
                                                   in zip(received, backbone.shape, strict=True)):
        raise OptionError(f"the head takes features of shape {received}, those of {backbone.name} have "
                          f"{backbone.shape}", f"a head for features {backbone.shape}", "build it with that shape")
    if backbone.large:
        return _alone(head)
    if head.name in (backbone.model.name, RAW_BRANCH):
        raise OptionError(f"the head is named {head.name!r}, as another part of the model is", "a name of its own",
                          "rename the keras.Model")
    network, taken = _taking_first(backbone), backbone.model.inputs[0]
    freeze(network)  # with the backbone in it: a loaded model applies the outer one's state to all below
    inputs = keras.Input(taken.shape[1:], dtype=taken.dtype, name=backbone.input.values_name)
    features = network(inputs, training=False)
    logits = head(features if len(head.inputs) == 1 else [features, raw_branch_of(backbone)(inputs)])
    return keras.Model(inputs, logits, name=f"{backbone.model.name}_{head.name}")


def _taking_first(backbone: Backbone) -> Any:
    """The network; where a head takes more values than it (see `Input.network_length`), a network that takes them too
    and passes on the first."""
    import keras

    model, length = backbone.model, backbone.input.network_length
    if length is None:
        return model
    inputs = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype, name=backbone.input.values_name)
    return keras.Model(inputs, model(inputs[:, :length], training=False), name=f"first_{length}")


def _alone(head: Any) -> Any:
    import keras

    inputs, through = (keras.Input(head.inputs[0].shape[1:], name="features") for _ in range(2))
    stand_in = keras.Model(through, keras.layers.Identity(name="through")(through), name="backbone_apart")
    return keras.Model(inputs, head(stand_in(inputs)), name=f"{head.name}_alone")


class Parts(NamedTuple):
    """The parts of a spliced model. raw_branch: None where the head takes features only."""

    backbone: Any
    head: Any
    raw_branch: Any

    def logits(self, features: Any, values: Any) -> Any:
        """The head's logits, [batch, outputs]. values: what the features are of, as `inputs.floats` gives them."""
        from keras import ops

        if self.raw_branch is None:
            return self.head(features, training=False)
        return self.head([ops.convert_to_tensor(features), self.raw_branch(values, training=False)], training=False)


def parts_of(model: Any) -> Parts:
    """The parts of a spliced model."""
    _, *parts = model.layers
    raw_branch = next((part for part in parts if part.name == RAW_BRANCH), None)
    backbone, head = (part for part in parts if part is not raw_branch)
    return Parts(backbone, head, raw_branch)
