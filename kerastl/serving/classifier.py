"""A model that was exported, loaded for use: its own SavedModel answers, as TF Serving's would."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError, ModelError
from kerastl.inputs.features import NAME as FEATURES
from kerastl.inputs.images import op_reason
from kerastl.serving.featurizer import Featurizer
from kerastl.versions.folder import find_version, read_json
from kerastl.versions.large import moved

BATCH = 32
RAW = {"image": "image_bytes", "text": "text"}  # the signatures' input
Content = bytes | list[bytes]  # what is sent of one input; two texts for a pair


@dataclass(frozen=True)
class Prediction:
    """The answer for one input. `top` holds (label, score) pairs, best first; scores are calibrated, in [0, 1].

    Where the input cannot be decoded, `error` says why and `label` is empty."""

    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    error: str = ""


class Classifier:
    """A version's SavedModel with its run record. `load` makes one."""

    def __init__(self, folder: Path, weights: str | None = None) -> None:
        self.folder = folder
        self.run = moved(read_json(folder, "run.json"), weights)
        self.classes: tuple[str, ...] = tuple(self.run["classes"])
        self.kind: str = self.run["kind"]
        self._raw = FEATURES if self.run.get("large") else RAW[self.kind]
        if self.kind == "text":
            import tensorflow_text  # noqa: F401  registers the operations that its graph tokenises with

        try:
            self._model = tf.saved_model.load(str(folder))
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} does not load: {str(error).splitlines()[0]}", "a whole version folder",
                             "see what is damaged: kerastl verify") from error
        self._serve = self._model.signatures["serving_default"]

    @cached_property
    def _featurizer(self) -> Featurizer:
        """Of a head that ships alone, its backbone: read when it is first asked."""
        return Featurizer(self.run)

    @property
    def at_once(self) -> int:
        """How many inputs it is best asked for at a time."""
        return self._featurizer.at_once if self._raw == FEATURES else BATCH

    def _served(self, contents: Sequence[Content]) -> dict[str, NDArray[Any]]:
        """What `serving_default` answers."""
        sent: Any = self._featurizer(contents) if self._raw == FEATURES else list(contents)
        found = [self._serve(**{self._raw: tf.constant(sent[start:start + BATCH])})
                 for start in range(0, len(sent), BATCH)]
        return {name: np.concatenate([one[name].numpy() for one in found]) for name in found[0]}

    def predict(self, inputs: Iterable[Any]) -> list[Prediction]:
        """Labels and scores in order: of images, each a path or a file's bytes; or of texts, each a str (for a model
        of pairs, two of them).

        Raises DataError for the first that is not an image. `predict_each` goes on past it.
        """
        found = self.predict_each(inputs)
        for place, one in enumerate(found):
            if one.error:
                raise DataError(f"input {place}: {one.error}", "an image this kit decodes", "leave it out")
        return found

    def predict_each(self, inputs: Iterable[Any]) -> list[Prediction]:
        """As `predict`, but an input that does not decode gives a Prediction with `error` set."""
        found: list[Prediction] = []
        pending: list[Content | str] = []
        most = self.at_once
        for one in inputs:
            pending.append(_file(one) if self.kind == "image" else self._text(one))
            if len(pending) == most:
                found += self._batch(pending)
                pending = []
        return found + self._batch(pending)

    def probabilities(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Calibrated probabilities in the order of `classes`: [len(contents), classes] float32. contents: whole files,
        or texts in UTF-8, as bytes."""
        return self._served(contents)["probabilities"]

    def contents(self, items: Sequence[Any]) -> list[Content]:
        """What `probabilities` takes, of paths of images or of texts. Raises OSError for a lost file."""
        return [Path(one).read_bytes() if self.kind == "image" else self._text(one) for one in items]

    def _text(self, one: Any) -> Content:
        parts = [one] if isinstance(one, str | bytes) else list(one)
        if len(parts) != (2 if self.pairs else 1) or not all(isinstance(part, str | bytes) for part in parts):
            wanted = "two texts (a pair) each" if self.pairs else "one text each, as str"
            raise DataError(f"an input is {str(one)[:60]!r}", wanted, "give what the model was trained on")
        found = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
        return found if self.pairs else found[0]

    @property
    def pairs(self) -> bool:
        """Whether an input is two texts."""
        return bool(self.run["input"].get("pair"))

    def _batch(self, contents: list[Content | str]) -> list[Prediction]:
        good = [one for one in contents if not isinstance(one, str)]
        try:
            answers = iter(self._answers(good))
        except tf.errors.InvalidArgumentError as error:  # one of them does not decode: find out which
            if len(contents) == 1:
                return [Prediction("", 0.0, (), _reason(error))]
            return [answer for one in contents for answer in self._batch([one])]
        return [Prediction("", 0.0, (), one) if isinstance(one, str) else next(answers) for one in contents]

    def _answers(self, contents: list[Content]) -> list[Prediction]:
        if not contents:
            return []
        out = self._served(contents)
        return [
            Prediction(label.decode(), float(score), tuple((name.decode(), float(p)) for name, p in zip(names, ps,
                                                                                                       strict=True)))
            for label, score, names, ps in zip(out["label"], out["score"], out["top_labels"], out["top_scores"],
                                               strict=True)
        ]


def load(model: str | Path, weights: str | None = None) -> Classifier:
    """Load `saved_models/NAME` (its newest version), `saved_models/NAME/N`, or a version folder. weights: of a model
    whose backbone stays apart, where that one's folder is now, if it moved.

    Raises ModelError when it is not a model of this kit.
    """
    return Classifier(find_version(str(model)), weights)


def _file(one: str | Path | bytes) -> bytes | str:
    if isinstance(one, bytes):
        return one
    try:
        return Path(one).read_bytes()
    except OSError as error:
        return f"{one}: {error.strerror}"


def _reason(error: tf.errors.OpError) -> str:
    text = str(error.message)
    if "assertion failed: [" in text:
        return text.partition("assertion failed: [")[2].partition("]")[0].strip("'\"b")
    return f"does not decode: {op_reason(error)}"
