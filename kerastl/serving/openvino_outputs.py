"""The outputs of a model in OpenVINO, from the SavedModel's own graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError
from kerastl.features.engines.openvino import compile_function
from kerastl.runtime import require_openvino

Outputs = dict[str, NDArray[np.float32]]  # of the signature `tensor`, by name


def openvino_outputs(tensor: Any) -> Callable[[NDArray[Any], NDArray[np.int32] | None], Outputs]:
    """A function of decoded values and owners that computes in float32. tensor: the signature of that name. Raises
    OptionError where OpenVINO is not installed, or cannot convert the graph."""
    require_openvino()
    names = sorted(tensor.structured_input_signature[1], key=lambda name: name == "owners")
    compiled = compile_function(tensor, "float32")
    returned = sorted(tensor.structured_outputs)

    def outputs_of(values: NDArray[Any], owners: NDArray[np.int32] | None) -> Outputs:
        sent = dict(zip(names, (values, owners), strict=False))
        arrays = [np.array(array, np.float32) for array in compiled(sent).values()]
        if len(arrays) != len(returned):
            raise OptionError(f"OpenVINO returns {len(arrays)} outputs of this network", f"{len(returned)}",
                              "omit `engine`: the SavedModel then computes")
        return dict(zip(returned, arrays, strict=True))

    return outputs_of
