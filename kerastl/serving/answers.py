"""The answer for one input: what the SavedModel returns for it, or the reason why there is none."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.inputs.isolation import workers_for
from kerastl.inputs.op_messages import asserted, undecoded
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


def isolated_contents(contents: list[Content | str], source: Any, seen: "itertools.count[int]") -> list[Content | str]:
    """The same images as files that the graph decodes without danger, where workers decode them (see
    `inputs.isolation.isolated`), with the reason in place of each that cannot be decoded. source: how images are
    decoded. seen: counts the inputs of the stream, whose number is not known before; `auto` uses workers from the
    2,000th on."""
    places = [place for place, content in enumerate(contents) if isinstance(content, bytes)]
    number = max((next(seen) + 1 for _ in contents), default=0)
    workers = workers_for(number)
    if workers is None or not places:
        return contents
    from kerastl.inputs.isolation.plain_images import plain_images

    plain = plain_images([bytes(contents[place]) for place in places], source, workers)  # type: ignore[arg-type]
    result = list(contents)
    for place, content in zip(places, plain, strict=True):
        result[place] = content
    return result


def rows_of(outputs: Mapping[str, NDArray[Any]]) -> list[Row | str]:
    """The outputs of each row. outputs: by name, [rows, ...]."""
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def refusal_reason(error: tf.errors.OpError) -> str:
    """Why the graph cannot decode an input, by the error of a call with it alone."""
    return asserted(str(error.message)) or undecoded(error)
