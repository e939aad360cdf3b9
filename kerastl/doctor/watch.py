"""Observing a network while it computes: the inputs and outputs of each of its layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Observer = Callable[[Any, Any, Any], None]  # layer, its first argument, its output


def layers_of(model: Any) -> list[Any]:
    """Every layer that is not itself a model, at any depth, also those inside composite layers."""
    return [layer for layer in model._flatten_layers() if not hasattr(layer, "layers")]  # Keras has no public walk


@contextmanager
def watched(layers: list[Any], observe: Observer) -> Iterator[None]:
    """Within the block, `observe` is called after each call of these layers, inner layers first. The network has to be
    called eagerly. (A submodel of the layers' tensors would not do: the parts of a composite layer have none.)"""
    for layer in layers:
        layer.call = _observed(layer, layer.call, observe)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call  # the method of the class is visible again


def _observed(layer: Any, call: Callable[..., Any], observe: Observer) -> Callable[..., Any]:
    def wrapper(*positional: Any, **named: Any) -> Any:
        outputs = call(*positional, **named)
        observe(layer, positional[0] if positional else next(iter(named.values()), None), outputs)
        return outputs

    return wrapper
