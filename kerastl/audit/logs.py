"""The inputs of a model in the request logs of a server."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.errors import DataError
from kerastl.modality import Modality

ENDINGS = (".tfrecord", ".tfrecords", ".tfrecord.part")  # the last is in use
EXAMPLES = ("classify_log", "regress_log", "multi_inference_log")  # requests of tf.Examples


@dataclass(frozen=True)
class LoggedInputs:
    """items: files as bytes; or texts as str, pairs of them as tuples; bytes where they are not UTF-8. skipped: how
    many requests, or tf.Examples in them, have no such input, by the reason."""

    items: list[Any]
    requests: int
    skipped: Counter[str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped, in words."""
        if not self.skipped:
            return ()
        reasons = ", ".join(f"{reason} ({number:,})" for reason, number in self.skipped.most_common())
        return (f"of {self.requests:,} logged requests, skipped: {reasons}",)


def logged_inputs(paths: Sequence[str], modality: Modality) -> LoggedInputs:
    """The inputs of the requests in logs, in order. Raises DataError for a file that is no log."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    items: list[Any] = []
    requests, skipped = 0, Counter[str]()
    for path in paths:
        before = requests
        try:
            for record in tf.data.TFRecordDataset(path):
                log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                kind = log.WhichOneof("log_type") or "no log_type"
                requests += 1
                for content in _contents(log, kind, modality.raw_input):
                    if content is None:
                        skipped[f"{kind} without {modality.raw_input}"] += 1
                    else:
                        items.append(_item(content, modality))
        except tf.errors.DataLossError as error:
            if "truncated record" not in str(error) or requests == before:
                raise _unreadable(path, error) from error
            skipped["an incomplete record at the end of a file, which is being written or was not finished"] += 1
        except Exception as error:  # of TensorFlow's and protobuf's many types
            raise _unreadable(path, error) from error
    return LoggedInputs(items, requests, skipped)


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read: {[*str(error).splitlines(), ''][0][:200]}",
                     "request logs, as `kerastl serve` writes them", "check the files")


def _contents(log: Any, kind: str, name: str) -> list[Any]:
    """The contents under a name in a request: of each row its bytes, of a pair a list of two, None where there is
    none; a single None for a request without such rows."""
    import tensorflow as tf

    if kind == "predict_log":
        request = log.predict_log.request
        return list(np.atleast_1d(tf.make_ndarray(request.inputs[name])).tolist()) if name in request.inputs else [None]
    if kind not in EXAMPLES:
        return [None]
    given = getattr(log, kind).request.input
    chosen = given.WhichOneof("kind")
    contents: list[Any] = []
    for example in getattr(given, chosen).examples if chosen else ():
        values = list(example.features.feature[name].bytes_list.value) if name in example.features.feature else []
        contents.append(values if len(values) == 2 else values[0] if len(values) == 1 else None)
    return contents


def _item(content: Any, modality: Modality) -> Any:
    if isinstance(content, list):
        return tuple(_item(part, modality) for part in content)
    if modality.in_files or not isinstance(content, bytes):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content  # the model answers it, or says why not
