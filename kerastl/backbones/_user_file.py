"""A backbone of the user's own: a Python file that defines `SPEC`, as the files of this folder do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.backbones._spec import Spec
from kerastl.errors import OptionError
from kerastl.user_code import load_user_module

FORMAT = "a Python file that defines SPEC, a kerastl.backbones.Spec"


def is_file_name(name: str) -> bool:
    """Whether a backbone's name is the path of a Python file."""
    return name.endswith(".py") and "+" not in name


def spec_of_file(path: str) -> Spec:
    """The spec that a file defines, named after the file. Raises OptionError if the file is missing or not usable."""
    module, sha256 = load_user_module(path, "backbone")
    spec, stem = getattr(module, "SPEC", None), Path(path).stem
    if not isinstance(spec, Spec):
        raise OptionError(f"{path} defines no SPEC" if spec is None else
                          f"SPEC in {path} is of the type {type(spec).__name__}", FORMAT,
                          "start from a copy of kerastl/backbones/resnet50.py")
    if set("+:,") & set(stem):
        raise OptionError(f"the file name {Path(path).name} contains one of + : ,", "a file name without them, because "
                          "it becomes the backbone's name", "rename the file")
    return replace(spec, name=stem, file_sha256=sha256)


def check_reloadable(model: Any, path: str) -> None:
    """Raises OptionError if the network has layers that Keras could not load again without the user's file."""
    import keras

    for layer in model._flatten_layers():  # also those inside composite layers; Keras has no public walk
        kind = type(layer)
        if isinstance(layer, keras.layers.Lambda) or kind.__module__.partition(".")[0] not in (
                "keras", "keras_hub", "kerastl"):
            raise OptionError(f"the layer {layer.name} of {path} is a {kind.__name__}, which an exported model could "
                              "not load again without that file", "layers of Keras or KerasHub",
                              "build the network from layers of Keras or KerasHub")
