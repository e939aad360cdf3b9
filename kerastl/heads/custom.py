"""Heads of the user's own: a keras.Model, a callable, or a Python file; and what is checked before one is trained.

A file defines either `HEAD = kerastl.heads.Head(...)`, as the files here do, or a function `build(shape, outputs)` that
returns a keras.Model.
"""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import OptionError
from kerastl.heads.specification import PLACES, ROW, ConfiguredHead, Head, Raw
from kerastl.inputs import Shape
from kerastl.user_code import load_user_module

EXPECTED = "a name, a Python file, a keras.Model, or a callable (shape, outputs) -> keras.Model"
LOADABLE = "layers and functions of Keras or KerasHub, so that the saved model loads anywhere in Keras' safe mode"
LIBRARIES = ("keras", "keras_hub")  # whose classes load without any code of the user's or of ours


def head_of_object(head: Any) -> Head:
    """The head that is a keras.Model, or that a callable builds. Raises OptionError for anything else."""
    import keras

    if isinstance(head, keras.Model):
        shape = tuple(head.inputs[0].shape[1:]) if getattr(head, "inputs", None) else ()
        return Head(f"custom:{head.name}", "a keras.Model", lambda shape, outputs: _copy(head, shape), custom=True,
                    takes=PLACES if len(shape) > 1 else ROW, sha256=_sha256(head, weights=True))
    if callable(head):
        name = getattr(head, "__name__", type(head).__name__)
        return Head(f"custom:{name}", "a callable", head, custom=True)
    raise OptionError(f"`head` is {head!r}", EXPECTED, "see kerastl heads")


def head_of_file(path: str) -> Head:
    """The head that a Python file defines. Its name is the path. Raises OptionError for a file that cannot be run, or
    that defines no head."""
    module, digest = load_user_module(path, "head")
    head, build = getattr(module, "HEAD", None), getattr(module, "build", None)
    if isinstance(head, Head):
        return replace(head, name=path, custom=True, sha256=digest)
    if head is not None:
        raise OptionError(f"`head` is {path!r}, whose HEAD is {head!r}", "a kerastl.heads.Head", "see kerastl.heads")
    if callable(build):
        return Head(path, f"build() of {path}", build, custom=True, sha256=digest)
    raise OptionError(f"`head` is {path!r}, which defines no head", "`HEAD = kerastl.heads.Head(...)`, or a function "
                      "`build(shape, outputs)` that returns a keras.Model", "define one of them")


def check_custom_head(head: ConfiguredHead, shape: Shape, outputs: int, raw: Raw | None = None) -> str:
    """Build a head of the user's own and check that it can be trained and exported. Returns the SHA-256 of the file it
    is from, or of what it builds.

    Raises OptionError for a head that takes features of another shape, that does not return `outputs` logits, or that
    Keras could not reload in safe mode without this program's own code.
    """
    name = head.spec.name.removeprefix("custom:")
    try:
        model = head.build(shape, outputs, raw)
    except OptionError:
        raise
    except Exception as error:
        raise OptionError(f"`head` {name} cannot be built for features {shape} and {outputs} classes: "
                          f"{_first_line(error)}", "a keras.Model", "run its code alone to see the whole traceback"
                          ) from error
    _check_shapes(model, name, shape, outputs, raw)
    _check_reload(model, name)
    return head.spec.sha256 or _sha256(model)


def _copy(model: Any, shape: Shape) -> Any:
    """The same layers with new weights. A Sequential model without an input gets one of `shape`."""
    import keras

    _check_classes(model, model.name)  # cloning them may fail with a message that names none of them
    copy = keras.models.clone_model(model)
    if not copy.built:
        copy.build((None, *shape))
    return copy


def _check_shapes(model: Any, name: str, shape: Shape, outputs: int, raw: Raw | None) -> None:
    import keras

    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise OptionError(f"`head` {name} gives {type(model).__name__}", "a Sequential or functional keras.Model",
                          "build it from keras.Input and layers, not as a subclass of keras.Model")
    if len(model.inputs) != (1 if raw is None else 2):
        raise OptionError(f"`head` {name} has {len(model.inputs)} inputs", "one: the features of a batch",
                          "build it with one keras.Input")
    received = tuple(model.inputs[0].shape[1:])
    if len(received) != len(shape) or any(a not in (None, b) for a, b in zip(received, shape, strict=True)):
        raise OptionError(f"`head` {name} takes features of shape {received}", f"{shape}, the shape of the backbone's "
                          "features", f"build it with keras.Input({shape}), or choose another backbone or pooling")
    if len(model.outputs) != 1 or tuple(model.outputs[0].shape) != (None, outputs):
        shapes = ", ".join(str(tuple(output.shape)) for output in model.outputs)
        raise OptionError(f"`head` {name} gives {shapes}", f"one output of shape {(None, outputs)}: a logit for each "
                          "class", f"end it with keras.layers.Dense({outputs})")
    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if isinstance(last, keras.layers.Softmax) or activation in ("softmax", "sigmoid"):
        raise OptionError(f"`head` {name} ends in {activation or 'softmax'}", "logits: the loss, the calibration and "
                          "the export apply the activation", f"end it with keras.layers.Dense({outputs})")


def _check_reload(model: Any, name: str) -> None:
    import keras

    _check_classes(model, name)
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save(path := Path(folder) / "head.keras")
            keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise OptionError(f"`head` {name} does not load again after it is saved: {_first_line(error)}", LOADABLE,
                              "use layers and functions of Keras") from error


def _check_classes(model: Any, name: str) -> None:
    try:
        foreign = sorted(set(_foreign(_config(model))))
    except Exception as error:
        raise OptionError(f"`head` {name} cannot be saved: {_first_line(error)}", LOADABLE,
                          "use layers and functions of Keras") from error
    if foreign:
        raise OptionError(f"`head` {name} uses {', '.join(foreign)}", LOADABLE, "use layers and functions of Keras")


def _config(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of a Lambda, which is refused here
        return json.loads(model.to_json())


def _foreign(config: Any) -> Iterator[str]:
    """What a model's configuration needs that neither Keras nor KerasHub brings."""
    if isinstance(config, list):
        for value in config:
            yield from _foreign(value)
    if not isinstance(config, dict):
        return
    kind, library = config.get("class_name"), str(config.get("module")).partition(".")[0]
    if kind in ("Lambda", "__lambda__"):
        yield "a Lambda layer" if kind == "Lambda" else "a lambda"
    elif kind == "function":
        yield f"the function {config.get('config')}"
    elif config.get("registered_name") and library not in LIBRARIES:
        yield f"the layer {kind}"
    for value in config.values():
        yield from _foreign(value)


def _sha256(model: Any, weights: bool = False) -> str:
    """Of a model's configuration, whatever names Keras made up for its layers, and of its weights."""
    names = {layer.name: f"layer {number}" for number, layer in enumerate(model._flatten_layers())}
    digest = hashlib.sha256(json.dumps(_renamed(_config(model), names), sort_keys=True).encode())
    for array in model.get_weights() if weights else ():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(value, names) for key, value in config.items()}
    if isinstance(config, list):
        return [_renamed(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
