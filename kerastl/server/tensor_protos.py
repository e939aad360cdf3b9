"""Between TensorProto and arrays, as TF Serving's gRPC API writes and reads them."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2

from kerastl.server.status import invalid

INT, HALF = "int_val", "half_val"
FIELDS = {tf.float32: "float_val", tf.float64: "double_val", tf.int8: INT, tf.uint8: INT, tf.int16: INT, tf.uint16: INT,
          tf.int32: INT, tf.uint32: "uint32_val", tf.int64: "int64_val", tf.uint64: "uint64_val", tf.bool: "bool_val",
          tf.string: "string_val", tf.float16: HALF, tf.bfloat16: HALF, tf.complex64: "scomplex_val",
          tf.complex128: "dcomplex_val"}
STORED = {tf.float16: np.uint16, tf.bfloat16: np.uint16, tf.complex64: np.float32, tf.complex128: np.float64}


def tensor_proto(array: NDArray[Any]) -> Any:
    """An array as a TensorProto. The values are in the field of their type, such as `float_val`, where clients of TF
    Serving look for them; `tf.make_tensor_proto` packs them into `tensor_content`."""
    dtype = tf.as_dtype(array.dtype)
    if dtype not in FIELDS:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    values = array.ravel()
    getattr(proto, FIELDS[dtype]).extend((values.view(STORED[dtype]) if dtype in STORED else values).tolist())
    return proto


def array_of(name: str, proto: Any, most_bytes: int) -> NDArray[Any]:
    """The array of a TensorProto that was sent for an input. most_bytes: of the array; a few bytes can stand for a
    tensor of any size, because the last value is repeated. Raises ServingError."""
    try:
        size = tf.as_dtype(proto.dtype).size or np.dtype(object).itemsize
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if proto.tensor_shape.unknown_rank or any(length < 0 for length in shape):
            raise ValueError(f"its shape is {'unknown' if proto.tensor_shape.unknown_rank else shape}")
        if math.prod(shape) * size > most_bytes:
            raise ValueError(f"its shape is {shape}, which needs {math.prod(shape) * size / 2**20:,.0f} MB, but the "
                             f"server takes {most_bytes / 2**20:,.0f} MB (its option `max_request_mb`)")
        return tf.make_ndarray(proto)
    except KeyError as error:  # a type such as DT_RESOURCE
        raise invalid(f"input {name!r} is not a tensor: values of its type cannot be sent ({error})") from error
    except (TypeError, ValueError) as error:
        raise invalid(f"input {name!r} is not a tensor: {error}") from error
