"""Looking on while a network computes: what enters and leaves each of its layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Seen = Callable[[Any, Any, Any], None]  # layer, what it was given (its first argument), what it gave


def layers_of(model: Any) -> list[Any]:
    """Every layer that is not a model of layers, however deep; also those inside composite layers."""
    return [layer for layer in model._flatten_layers() if not hasattr(layer, "layers")]  # Keras has no public walk


@contextmanager
def watched(layers: list[Any], seen: Seen) -> Iterator[None]:
    """Within: `seen` is called after each call of these layers, the inner ones first. The network has to be called
    eagerly. A submodel of the layers' tensors would not do: a composite layer's parts have none of their own."""
    for layer in layers:
        layer.call = _telling(layer, layer.call, seen)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call  # the class's own shows again


def _telling(layer: Any, call: Callable[..., Any], seen: Seen) -> Callable[..., Any]:
    def told(*given: Any, **named: Any) -> Any:
        gave = call(*given, **named)
        seen(layer, given[0] if given else next(iter(named.values()), None), gave)
        return gave

    return told
