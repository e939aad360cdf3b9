"""`--private` on a recipe: the recipe's own steps read the data in many ways, so the private steps take their place."""

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from typing import Any

import kerastl
from kerastl.errors import OptionError
from kerastl.shell.flags import TextConfig

OF_THE_SHELL = ("json", "isolate")  # flags that the shell itself honours


def private_or(main: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The `main` of a recipe; with `private`, the pipeline of its modality with the same flags instead."""
    def chosen(config: Any) -> Any:
        if getattr(config, "private", None) is None:
            if getattr(config, "classes", None) is not None and hasattr(config, "private"):
                raise OptionError("`classes` is given without `private`", "", "omit it: classes are read from the data")
            return main(config)
        pipeline = kerastl.classify_texts if isinstance(config, TextConfig) else kerastl.classify_images
        values = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in OF_THE_SHELL}
        if own := sorted(set(values) - set(signature(pipeline).parameters)):
            raise OptionError(f"`private` does not run the steps of this recipe that belong to {', '.join(own)}",
                              "a recipe without steps of its own, such as minilm_text or efficientnet_lite_images",
                              "choose that recipe, or omit `private`")
        return pipeline(**values)

    return chosen
