"""Between TensorProto and arrays, as TF Serving's gRPC API writes and reads them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2

from kerastl.server.bodies import Arrays
from kerastl.server.status import Code, ServingError, invalid

MOST_SENT = 2**31 - 2**24  # bytes of the values of an answer; protobuf drops what is beyond 2 GB without an error

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


def require_sendable(outputs: Arrays) -> None:
    """Raises ServingError for outputs that are too large for one message."""
    total = sum(sum(map(len, array.ravel().tolist())) if array.dtype == object else array.nbytes
                for array in outputs.values())
    if total > MOST_SENT:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"the answer has {total / 2**20:,.0f} MB, but a message of gRPC at "
                           f"most {MOST_SENT / 2**20:,.0f} MB; send fewer rows, or ask for fewer outputs "
                           "(output_filter)")


def arrays_of(protos: Mapping[str, Any], most_bytes: int) -> Arrays:
    """The arrays of the TensorProtos that were sent for inputs, by name. most_bytes: of all of them together; a few
    bytes can stand for a tensor of any size, because the last value is repeated. Raises ServingError."""
    arrays: Arrays = {}
    room = most_bytes
    for name, proto in protos.items():
        arrays[name], needed = _array_of(name, proto, room, most_bytes)
        room -= needed
    return arrays


def _array_of(name: str, proto: Any, room: int, most_bytes: int) -> tuple[NDArray[Any], int]:
    """The array, and the bytes that it needs. room: those that the other inputs leave."""
    try:
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if proto.tensor_shape.unknown_rank or any(length < 0 for length in shape):
            raise ValueError(f"its shape is {'unknown' if proto.tensor_shape.unknown_rank else shape}")
        needed = _bytes_of(proto, math.prod(shape))
        if needed > room:
            others = f" beside {(most_bytes - room) / 2**20:,.0f} MB of other inputs" if room < most_bytes else ""
            raise ValueError(f"its shape is {shape}, which needs {needed / 2**20:,.0f} MB{others}, but the server "
                             f"takes {most_bytes / 2**20:,.0f} MB (its option `max_request_mb`)")
        return tf.make_ndarray(proto), needed
    except KeyError as error:  # a type such as DT_RESOURCE
        raise invalid(f"input {name!r} is not a tensor: values of its type cannot be sent ({error})") from error
    except (TypeError, ValueError, OverflowError) as error:  # such as 300 in a tensor of int8
        raise invalid(f"input {name!r} is not a tensor: {error}") from error


def _bytes_of(proto: Any, values: int) -> int:
    """The bytes that so many values of a tensor need. A string that stands for many is copied for each of them; the
    others have been received."""
    strings = proto.string_val
    size = tf.as_dtype(proto.dtype).size or np.dtype(object).itemsize
    return values * size + (len(strings[-1]) * max(0, values - len(strings)) if strings else 0)
