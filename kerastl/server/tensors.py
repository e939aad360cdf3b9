"""Between JSON values and arrays, by the rules of TF Serving's REST API.

A value is a number, a string, a bool, `{"b64": ...}`, or a list of values that are all of one shape. The words of the
errors are those by which clients of TF Serving recognise them.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.server.status import Code, ServingError, invalid

SHOWN = 256  # characters of a value that an error shows
MOST_DIMENSIONS = 64  # of an array of NumPy
B64 = "b64"
TYPE_NAMES = {type(None): "Null", bool: "True", dict: "Object", list: "Array", str: "String", int: "Number",
              float: "Number"}
INTEGERS = {np.dtype(kind): (np.iinfo(kind).min, np.iinfo(kind).max)
            for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)}
FLOATS = {np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)}
# What these words of a document stand for. A number that becomes one of them was too large, so objects are compared.
CONSTANTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Base64 as TF Serving reads it, with white space and dots for padding; and the alphabet for URLs.
PLAIN = str.maketrans("-_.", "+/=", " \t\n\v\f\r")
DTYPE_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.float16): "half",
               np.dtype(object): "string", np.dtype(bool): "bool"}


def shown(value: Any) -> str:
    """A JSON value as an error shows it, cut off where it is long."""
    text = ""
    for part in json.JSONEncoder(default=str).iterencode(value):
        text += part
        if len(text) > SHOWN:
            return f"{text[:SHOWN]}..."
    return text


def is_b64(value: Any) -> bool:
    """Whether a value is binary data, `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(B64), str)


def to_array(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A JSON value, as `documents.parsed` returns it, as an array of a type; strings as bytes in an array of objects.
    Raises ServingError where it is ragged or has other types."""
    shape: list[int] = []
    level: list[Any] = [value]
    while isinstance(level[0], list):  # the shape is that of the first values
        size = len(level[0])
        if not all(type(item) is list and len(item) == size for item in level):
            _refuse_ragged(value, 0, _shape_of_first(value))
        shape.append(size)
        level = list(chain.from_iterable(level))
        if len(shape) > MOST_DIMENSIONS:
            raise invalid(f"JSON Value: {shown(value)} has more than {MOST_DIMENSIONS} dimensions")
        if not level:
            return np.empty(shape, dtype)
    return _leaves(level, dtype, value, shape).reshape(shape)


def _shape_of_first(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _refuse_ragged(value: Any, level: int, shape: list[int]) -> None:
    """Raises ServingError for the first place that is not of the shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                          f"Expected at level: {len(shape)}")
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                      f"{shape[level]}")
    for item in value:
        _refuse_ragged(item, level + 1, shape)


def _leaves(values: list[Any], dtype: np.dtype[Any], whole: Any, shape: list[int]) -> NDArray[Any]:
    kinds = set(map(type, values))
    if list in kinds:
        _refuse_ragged(whole, 0, shape)
    if dtype == np.dtype(object):
        return _strings(values, kinds)
    if dtype == np.dtype(bool):
        _require(values, {bool}, dtype)
        return np.array(values, bool)
    if dtype in FLOATS:
        _require(values, {int, float}, dtype)
        return _floats(values, kinds, dtype)
    if dtype in INTEGERS:
        _require(values, {int}, dtype)
        low, high = INTEGERS[dtype]
        if min(values) < low or max(values) > high:
            raise _type_error(next(value for value in values if not low <= value <= high), dtype)
        return np.array(values, dtype)
    raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(values[0])} to type: {dtype_name(dtype)}")


def _strings(values: list[Any], kinds: set[type]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        if isinstance(value, str):
            array[place] = value.encode("utf-8", "surrogateescape")
        elif isinstance(value, dict):
            array[place] = from_b64(value)
        else:
            raise _type_error(value, np.dtype(object))
    return array


def from_b64(value: Any) -> bytes:
    """The bytes of `{"b64": "..."}`, in either alphabet, with or without padding. Raises ServingError."""
    if not is_b64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text: str = value[B64]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        text = text.translate(PLAIN)
    try:
        return binascii.a2b_base64(text if "=" in text else text + "=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _floats(values: list[Any], kinds: set[type], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers, of which integers must be exact: 16777217 is no float32, and what would become of it is not what was
    sent. Numbers with a decimal point are rounded."""
    with np.errstate(over="ignore"):
        try:
            wide = np.array(values, np.float64)
        except OverflowError as error:
            raise _too_big() from error
        array = wide.astype(dtype)
    if np.isinf(wide).any():
        require_finite(values)
    if int in kinds:
        for value, stored in zip(values, array.tolist(), strict=True):
            if type(value) is int and value != stored:
                raise _lossy(value, dtype)
    return array


def require_finite(values: Iterable[float]) -> None:
    """Raises ServingError for a number that is infinite because it was too large, such as 1e400."""
    if any(math.isinf(value) and not any(value is known for known in CONSTANTS.values()) for value in values):
        raise _too_big()


def _too_big() -> ServingError:
    return invalid("JSON Parse error: Number too big to be stored in double.")


def _lossy(value: int, dtype: np.dtype[Any]) -> ServingError:
    return invalid(f"JSON Value: {shown(value)} Type: Number cannot be converted to {dtype_name(dtype)} without loss "
                   f"of precision; to have it rounded, send {value}.0")


def _require(values: list[Any], kinds: set[type], dtype: np.dtype[Any]) -> None:
    if not {*map(type, values)} <= kinds:
        raise _type_error(next(value for value in values if type(value) not in kinds), dtype)


def _type_error(value: Any, dtype: np.dtype[Any]) -> ServingError:
    name = "False" if value is False else TYPE_NAMES.get(type(value), "Unknown")
    return invalid(f"JSON Value: {shown(value)} Type: {name} is not of expected type: {dtype_name(dtype)}")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """A type as TensorFlow names it: float, double, int64, string."""
    return DTYPE_NAMES.get(np.dtype(dtype), np.dtype(dtype).name)


# Arrays to JSON


def written(array: NDArray[Any], as_bytes: bool = False) -> str:
    """An array as JSON. as_bytes: strings as `{"b64": ...}`. Raises ServingError for a type that JSON has no value
    for."""
    leaves = list(_written_leaves(array.reshape(-1), as_bytes))
    return _nested(leaves, array.shape)


def rows_written(array: NDArray[Any], as_bytes: bool = False) -> list[str]:
    """Each entry of the first dimension as JSON."""
    leaves = list(_written_leaves(array.reshape(-1), as_bytes))
    size = len(leaves) // len(array) if len(array) else 0
    return [_nested(leaves[start * size:(start + 1) * size], array.shape[1:]) for start in range(len(array))]


def _nested(leaves: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return leaves[0]
    if not leaves:
        return json.dumps(np.empty(shape).tolist())
    for size in reversed(shape):
        leaves = [f"[{', '.join(leaves[start:start + size])}]" for start in range(0, len(leaves), size)]
    return leaves[0]


def _written_leaves(values: NDArray[Any], as_bytes: bool) -> Iterable[str]:
    if values.dtype in FLOATS:
        return _decimals(values)
    if values.dtype == bool:
        return ("true" if value else "false" for value in values.tolist())
    if values.dtype in INTEGERS:
        return map(str, values.tolist())
    if values.dtype == object:
        return map(_written_bytes if as_bytes else _written_text, values.tolist())
    raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(values.dtype)}")


def _written_bytes(value: bytes) -> str:
    return f'{{"{B64}": "{base64.b64encode(value).decode()}"}}'


def _written_text(value: bytes) -> str:
    return json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False)


def _decimals(values: NDArray[Any]) -> Iterator[str]:
    """Six digits where these give the number back, else as many as it needs; whole numbers with `.0`, so that a list is
    not a mixture of integers and decimals."""
    digits = 17 if values.dtype == np.float64 else 9
    numbers = values.tolist()
    texts = ("%.6g\n" * len(numbers) % tuple(numbers)).split()
    with np.errstate(over="ignore"):
        exact = np.array(texts, np.float64).astype(values.dtype) == values
    for number, text, right in zip(numbers, texts, exact.tolist(), strict=True):
        if number != number:
            yield "NaN"
        elif number in (np.inf, -np.inf):
            yield "Infinity" if number > 0 else "-Infinity"
        else:
            text = text if right else f"{number:.{digits}g}"
            yield text if "." in text or "e" in text else f"{text}.0"


def batch_size(outputs: Mapping[str, NDArray[Any]]) -> int:
    """The size of the first dimension, which is the same for all. Raises ServingError where it is not."""
    size = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size >= 0 and len(array) != size:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)
    return size
