"""The answer for one input: what the SavedModel returns for it, or the reason why there is none."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.inputs.images import op_reason
from kerastl.inputs.unknown_texts import TextCheck
from kerastl.serving.predictions import Row

Content = bytes | list[bytes]  # what is sent of one input; two texts for a pair
Answer = Callable[[Sequence[Content]], list[Row | str]]  # for each content its outputs, or why it cannot be decoded


class Refused(str):
    """The reason why there is nothing to predict on, in place of an input."""


def content_or_reason(read: Callable[[Any], Content], item: Any) -> Content | str:
    """What is sent of an input, or why it cannot be read."""
    if isinstance(item, Refused):
        return str(item)
    try:
        return read(item)
    except OSError as error:
        return f"{item}: {error.strerror or error}"
    except ValueError:  # such as a NUL in a path
        return f"{item}: not a valid file name"
    except DataError as error:
        return error.line


def checked(contents: list[Content | str], check: TextCheck | None) -> list[Content | str]:
    """The same, with the reason in place of each text that cannot be classified."""
    if check is None:
        return contents
    reasons = iter(check([content for content in contents if not isinstance(content, str)]))
    return [content if isinstance(content, str) else next(reasons) or content for content in contents]


def rows_of(outputs: Mapping[str, NDArray[Any]]) -> list[Row | str]:
    """The outputs of each row. outputs: by name, [rows, ...]."""
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def refusal_reason(error: tf.errors.OpError) -> str:
    """Why the graph cannot decode an input, by the error of a call with it alone."""
    text = str(error.message)
    if "assertion failed: [" in text:
        return text.partition("assertion failed: [")[2].partition("]")[0].strip("'\"b")
    return f"could not be decoded: {op_reason(error)}"
