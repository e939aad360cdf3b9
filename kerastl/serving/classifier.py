"""An exported model, loaded for use. Its own SavedModel makes the predictions, as in TF Serving."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError, OptionError, one_line
from kerastl.inputs import restored
from kerastl.inputs.features import NAME as FEATURES
from kerastl.inputs.unknown_texts import TextCheck
from kerastl.modality import Modality
from kerastl.serving.answers import (
    Answer,
    Content,
    checked,
    content_or_reason,
    isolated_contents,
    refusal_reason,
    rows_of,
)
from kerastl.serving.predictions import Prediction, PredictionForm, Row
from kerastl.serving.stream import AT_A_TIME, Batching, answered
from kerastl.tasks import Task
from kerastl.versions.folder import RECORD, find_version
from kerastl.versions.large import with_weights
from kerastl.versions.record import RunRecord
from kerastl.versions.saved_graph import load_saved_model
from kerastl.versions.token_models import is_token_model, loader_of, not_for_tokens

if TYPE_CHECKING:
    from kerastl.serving.featurizer import Featurizer

BATCH = 32


class Classifier:
    """A version's SavedModel with its run record. `load` makes one."""

    def __init__(self, folder: Path, weights: str | None = None, trust: bool = False) -> None:
        self.folder = folder
        self.record = with_weights(RunRecord.read(folder), weights)
        self._model = load_saved_model(folder, self.record, trust)
        self._serve = self._model.signatures["serving_default"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that the model knows, in the order of its probabilities."""
        return self.record.classes

    @property
    def modality(self) -> Modality:
        """The modality of the inputs: image or text."""
        return self.record.modality

    @property
    def task(self) -> Task:
        """The task: one label per row, or several."""
        return self.record.task

    @property
    def rejects(self) -> bool:
        """Whether an input that is unlike the training data gets the label "none of these"."""
        return self.record.rejection is not None and self.record.rejection.reject

    def __repr__(self) -> str:
        return (f"Classifier({str(self.folder)!r}: {self.modality.nouns}, {self.task.noun}, {len(self.classes)} "
                f"classes, {self.record.backbone} + {self.record.head})")

    @property
    def batch_size(self) -> int:
        """The best number of inputs per call."""
        return BATCH if self._featurizer is None else self._featurizer.batch_size

    def predict(self, inputs: Iterable[Any] | PathLike[str], *, top: int | None = None, probabilities: bool = False,
                min_score: float | None = None) -> list[Prediction]:
        """Predictions in the order of the inputs: images, each a path or a file's bytes; or texts, each a str (for a
        model of pairs, two of them). A single str, bytes or path stands for a list of one.

        top: how many labels `Prediction.top` holds; default: 5, or all classes if they are fewer. probabilities:
        whether `Prediction.probabilities` holds those of all classes. min_score: below it, `Prediction.label` is empty;
        with several labels per row, it lacks the labels below it.

        Raises DataError for the first input that cannot be decoded, is an empty text, or has no token that the model
        knows; `predict_each` continues after it. OptionError for a `top` below 1 or a `min_score` outside [0, 1].
        """
        predictions = self.predict_each(inputs, top=top, probabilities=probabilities, min_score=min_score)
        for place, prediction in enumerate(predictions):
            if prediction.error:
                raise DataError(f"input {place}: {prediction.error}", self.modality.readable, "omit this input")
        return predictions

    def predict_each(self, inputs: Iterable[Any] | PathLike[str], *, top: int | None = None,
                     probabilities: bool = False, min_score: float | None = None) -> list[Prediction]:
        """As `predict`, but an input that cannot be decoded, or is of another kind than the model takes, gives a
        Prediction with `error` set. Raises OptionError for `inputs` that are no inputs."""
        return list(self.stream(inputs, top=top, probabilities=probabilities, min_score=min_score))

    def stream(self, inputs: Iterable[Any] | PathLike[str], *, top: int | None = None, probabilities: bool = False,
               min_score: float | None = None) -> Iterator[Prediction]:
        """As `predict_each`, but the predictions come one by one while the inputs are read, a few batches ahead, so
        that memory does not grow with their number."""
        return map(self.form(top, probabilities, min_score).prediction, self.rows(inputs))

    def form(self, top: int | None = None, probabilities: bool = False, min_score: float | None = None
             ) -> PredictionForm:
        """What predictions contain, see `predict`. Raises OptionError for values that cannot be used."""
        return PredictionForm(self.classes, self.task, self.record.thresholds, top, probabilities, min_score)

    def rows(self, inputs: Iterable[Any] | PathLike[str], answer: Answer | None = None) -> Iterator[Row | str]:
        """What `serving_default` returns for each input, in order: its outputs by name, or why it has none. answer:
        what computes them instead of the SavedModel; it is called by several threads at a time."""
        read, check, compute = self._content, self._text_check, answer or self.answer  # loaded before threads use them

        def run(items: Sequence[Any]) -> list[Row | str]:
            contents = checked([content_or_reason(read, item) for item in items], check)
            if source is not None:
                contents = isolated_contents(contents, source, seen)
            rows = iter(compute([content for content in contents if not isinstance(content, str)]))
            return [content if isinstance(content, str) else next(rows) for content in contents]

        source, seen = self._image_source, itertools.count()
        alone = self._featurizer is not None  # its network takes all the memory and cores there are
        batching = Batching(self.batch_size, self.modality.has_length and not alone, 1 if alone else AT_A_TIME)
        return answered(_several(inputs), run, batching)

    def probabilities(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Calibrated probabilities in the order of `classes`: [len(contents), classes] float32. contents: whole files,
        or texts in UTF-8, as bytes."""
        return self._served(contents)["probabilities"]

    def contents(self, items: Sequence[Any]) -> list[Content]:
        """What `probabilities` takes, for paths of images or for texts. Raises OSError for a missing file."""
        return [self._content(item) for item in items]

    @property
    def tensor(self) -> Any:
        """The signature `tensor`, a tf.ConcreteFunction: decoded input to logits."""
        return self._model.signatures["tensor"]

    @cached_property
    def _featurizer(self) -> "Featurizer | None":
        """The backbone, where the head was exported alone: loaded when it is first needed, and Keras with it."""
        if self.record.large is None:
            return None
        from kerastl.serving.featurizer import Featurizer

        return Featurizer(self.record)

    @cached_property
    def _text_check(self) -> TextCheck | None:
        """What finds the texts that cannot be classified; None for images."""
        if self.modality.in_files:
            return None
        source = restored(self.modality, self.record.input, self.folder) if self._featurizer is None else \
            self._featurizer.input
        return TextCheck(source)

    @cached_property
    def _image_source(self) -> Any:
        """How images are decoded; None for texts."""
        return restored(self.modality, self.record.input, self.folder) if self.modality.in_files else None

    @cached_property
    def _content(self) -> Any:
        convert = self.modality.load(self.modality.input_module, "client_content")
        return lambda item: convert(item, self.record.input)

    def _served(self, contents: Sequence[Content]) -> dict[str, NDArray[Any]]:
        """What `serving_default` returns."""
        name = self.modality.raw_input if self._featurizer is None else FEATURES
        sent: Any = list(contents) if self._featurizer is None else self._featurizer(contents)
        batches = [self._serve(**{name: tf.constant(sent[start:start + BATCH])})
                   for start in range(0, len(sent), BATCH)]
        return {output: np.concatenate([batch[output].numpy() for batch in batches]) for output in batches[0]}

    def answer_with_features(self, contents: Sequence[Content]) -> list[Row | str]:
        """As `answer`, with `features` among the outputs: what the backbone makes of each content; empty for a model
        that is exported without its backbone."""
        rows = self.answer(contents)
        good = [content for content, row in zip(contents, rows, strict=True) if not isinstance(row, str)]
        found: list[Any] = [np.zeros(0, np.float32)] * len(good)
        if self._featurizer is None and good:
            embed, name = self._model.signatures["features"], self.modality.raw_input
            found = [row for start in range(0, len(good), BATCH)
                     for row in embed(**{name: tf.constant(list(good[start:start + BATCH]))})["features"].numpy()]
        features = iter(found)
        return [row if isinstance(row, str) else {**row, "features": next(features)} for row in rows]

    def answer(self, contents: Sequence[Content]) -> list[Row | str]:
        """What `serving_default` returns for each of some contents, or why it cannot be decoded. One that cannot be
        makes the call fail, so it is found by halves; decoding comes first, so a call that fails costs little."""
        if not contents:
            return []
        try:
            return rows_of(self._served(contents))
        except tf.errors.InvalidArgumentError as error:
            if len(contents) == 1:
                return [refusal_reason(error)]
            half = len(contents) // 2
            return [*self.answer(contents[:half]), *self.answer(contents[half:])]


def load(model: str | Path, weights: str | None = None, *, trust: bool = False) -> Classifier:
    """Load `saved_models/NAME` (its newest version), `saved_models/NAME/N`, or a version folder. weights: the new
    location of the backbone's folder, for a model that was exported without its backbone. trust: load it also if its
    graph contains operations that no model needs. A model is a program: trust only models whose origin you know.
    A model on tokens gives an object of its own type, such as the `Tagger` that `load_tagger` returns.

    Raises ModelError when it was not written by kerastl, is damaged, or contains such operations.
    """
    folder = find_version(str(model))
    if is_token_model(folder):
        loaded: Classifier = loader_of(folder).load_model(folder, trust)
        return loaded
    return Classifier(folder, weights, trust)


def load_classifier(model: str | Path, weights: str | None = None, *, trust: bool = False) -> Classifier:
    """As `load`, for what needs a model of images or texts: a model on tokens raises ModelError."""
    folder = find_version(str(model))
    if is_token_model(folder):
        raise not_for_tokens(folder / RECORD)
    return load(folder, weights, trust=trust)


def _several(inputs: Any) -> Iterable[Any]:
    """The inputs one by one; a single str would otherwise be taken for its characters, an open file for its lines, a
    dict for its keys."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | PathLike):
        return [inputs]
    if not isinstance(inputs, Iterable) or isinstance(inputs, Mapping) or hasattr(inputs, "read"):
        raise OptionError(f"`inputs` is {one_line(inputs)}", "a list of inputs, or a single str, bytes or path",
                          "pass a list")
    return inputs
