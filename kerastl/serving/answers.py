"""The answer for one input: what the SavedModel returns for it, as a prediction, or the reason why there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.inputs.images import op_reason
from kerastl.inputs.unknown_texts import TextCheck

Content = bytes | list[bytes]  # what is sent of one input; two texts for a pair
Row = dict[str, Any]  # the outputs of `serving_default` for one input
Answer = Callable[[Sequence[Content]], list[Row | str]]  # for each content its outputs, or why it cannot be decoded


class Refused(str):
    """The reason why there is nothing to predict on, in place of an input."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one input. `top` holds (label, score) pairs, the highest score first; scores are calibrated
    probabilities in [0, 1]. With several labels per row, `label` joins them by `|`, and is empty where there is none.

    `unknown_score` is higher for an input that is more unlike the training data, and above 0 where it is more so than
    the rows of the coverage that the model was trained with; None for a model of an earlier version. Where the input
    could not be decoded, `error` says why and `label` is empty."""

    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    unknown_score: float | None = None


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


def prediction_of(row: Row | str) -> Prediction:
    """The prediction in the outputs of a row, or with the reason why there are none."""
    if isinstance(row, str):
        return Prediction("", 0.0, (), row)
    top = tuple((name.decode(), float(p)) for name, p in zip(row["top_labels"], row["top_scores"], strict=True))
    unknown = row.get("unknown_score")
    return Prediction(row["label"].decode(), float(row["score"]), top,
                      unknown_score=None if unknown is None else float(unknown))


def refusal_reason(error: tf.errors.OpError) -> str:
    """Why the graph cannot decode an input, by the error of a call with it alone."""
    text = str(error.message)
    if "assertion failed: [" in text:
        return text.partition("assertion failed: [")[2].partition("]")[0].strip("'\"b")
    return f"could not be decoded: {op_reason(error)}"
