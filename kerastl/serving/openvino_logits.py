"""The logits of a model in OpenVINO, from the SavedModel's own graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.engines.openvino import compile_function
from kerastl.runtime import require_openvino


def openvino_logits(tensor: Any) -> Callable[[NDArray[Any], NDArray[np.int32] | None], NDArray[np.float32]]:
    """A function of decoded values and owners that computes in float32. tensor: the signature of that name. Raises
    OptionError where OpenVINO is not installed, or cannot convert the graph."""
    require_openvino()
    names = sorted(tensor.structured_input_signature[1], key=lambda name: name == "owners")
    compiled = compile_function(tensor, "float32")

    def logits_of(values: NDArray[Any], owners: NDArray[np.int32] | None) -> NDArray[np.float32]:
        sent = dict(zip(names, (values, owners), strict=False))
        return np.array(next(iter(compiled(sent).values())), np.float32)

    return logits_of
