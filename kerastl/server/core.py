"""One request core under REST and gRPC: which version answers, what it computes, and what is counted."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerastl.evaluation.rejection import LABEL as NONE_OF_THESE
from kerastl.inputs.op_messages import asserted
from kerastl.server import inference
from kerastl.server.batching import rows_of
from kerastl.server.bodies import Arrays
from kerastl.server.client_images import Screened
from kerastl.server.metrics import CONFIDENCE, EXAMPLES, EXAMPLES_EACH, POWERS_OF_2, PREDICTED, SHARES, UNKNOWN, Metrics
from kerastl.server.models import Models
from kerastl.server.served import Served
from kerastl.server.signatures import DEFAULT, Signature
from kerastl.server.status import Code, ServingError, invalid

MOST_UNKNOWN = 100  # names of models that are not served, in the metrics
LONGEST_UNKNOWN = 200  # characters of such a name
LABEL, SCORE = "label", "score"


@dataclass(frozen=True)
class Spec:
    """Which version of which model is asked: by number, by label, or the newest."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a version returned. errors: of rows that have no answer, by row; outputs are those of the others."""

    served: Served
    signature: str
    outputs: Arrays
    errors: Mapping[int, str] = field(default_factory=dict)


class Core:
    """Answers requests. all_or_nothing: a row that cannot be computed fails the whole request, as in TF Serving.
    most_bytes: of what a request is unpacked to."""

    def __init__(self, models: Models, metrics: Metrics, *, most_bytes: int, all_or_nothing: bool = False) -> None:
        self.models, self.metrics, self._all_or_nothing = models, metrics, all_or_nothing
        self._most_bytes = most_bytes
        self._unknown: set[str] = set()

    def counted(self, name: str) -> str:
        """The name under which requests to a model are counted: its own; of models that are not served only the first
        names that are not too long, since clients can ask for any number of them."""
        if name in self.models.names or name in self._unknown:
            return name
        if len(self._unknown) == MOST_UNKNOWN or len(name) > LONGEST_UNKNOWN:
            return ""
        self._unknown.add(name)
        return name

    def predict(self, spec: Spec, read: Callable[[Served], tuple[str, Arrays]], wanted: Sequence[str] = (),
                partial: bool = False) -> Answer:
        """Outputs of a signature. read: the signature's name and the inputs, once it is known which version answers.
        partial: rows that cannot be computed get errors of their own. Raises ServingError."""
        with self.models.lease(spec.name, spec.version, spec.label) as served:
            name, arrays = read(served)
            signature = served.model.signature(name)
            inference.check_outputs(signature, wanted)
            checked, each = signature.checked(arrays), partial and signature.batches and not self._all_or_nothing
            screened = served.images.screened(signature, checked) if served.images else Screened(checked)
            sent, refused = screened.arrays, screened.refused
            if refused and (not each or len(refused) == rows_of(checked)):
                raise invalid("; ".join(dict.fromkeys(refused.values())))
            try:
                outputs, errors = served.run(signature, sent, wanted), dict[int, str]()
            except ServingError as error:
                if not each or not rows_of(sent) or error.code is not Code.INVALID_ARGUMENT:
                    raise
                outputs, errors = _by_halves(served, signature, sent, wanted, error)
            errors = _together(refused, errors, rows_of(checked) or 0)
            self._count(served, outputs)
            return Answer(served, name or DEFAULT, outputs, errors)

    def classify(self, spec: Spec, signature: str, examples: Any) -> tuple[Served, Any]:
        """A ClassificationResult for a `tensorflow.serving.Input`. Raises ServingError."""
        return self._of_examples(spec, examples, lambda served, array: inference.classify(
            served.model, signature, array, served.run))

    def regress(self, spec: Spec, signature: str, examples: Any) -> tuple[Served, Any]:
        """A RegressionResult for a `tensorflow.serving.Input`. Raises ServingError."""
        return self._of_examples(spec, examples, lambda served, array: inference.regress(
            served.model, signature, array, served.run))

    def multi(self, spec: Spec, tasks: Sequence[tuple[str, str]], examples: Any) -> tuple[Served, list[Any]]:
        """The results of several tasks, pairs of signature and method, on the same input. Raises ServingError."""
        return self._of_examples(spec, examples, lambda served, array: inference.multi(
            served.model, tasks, array, served.run))

    def _of_examples(self, spec: Spec, examples: Any, compute: Callable[[Served, Any], Any]) -> tuple[Served, Any]:
        """What a version makes of examples, which are counted. compute: with the version, and the serialised
        examples."""
        with self.models.lease(spec.name, spec.version, spec.label) as served:
            array = inference.examples_of(examples, self._most_bytes)
            result = compute(served, array)
            self.metrics.count(EXAMPLES, len(array), model=served.name)
            self.metrics.observe(EXAMPLES_EACH, len(array), POWERS_OF_2, model=served.name)
            return served, result

    def log(self, served: Served, signature: str, made: Callable[[], Any]) -> None:
        """Log a request and its answer, if the model has a log and the request is in its sample. made: the
        PredictionLog, without its metadata."""
        log = self.models.log_of(served.name)
        if log is not None and log.sampled():
            log.write(made(), served.version, signature or DEFAULT)

    def _count(self, served: Served, outputs: Arrays) -> None:
        """What a model of ours predicted: its classes, the confidence, and how often none of them."""
        if served.drift is not None:
            served.drift.add(outputs)
        if served.record is None or LABEL not in outputs or outputs[LABEL].ndim != 1:
            return
        known = {*served.record.classes}
        for value in outputs[LABEL].tolist():
            label = value.decode("utf-8", "replace")
            if label in known:
                self.metrics.count(PREDICTED, model_name=served.name, label=label)
            elif label == NONE_OF_THESE:
                self.metrics.count(UNKNOWN, model_name=served.name)
        if SCORE in outputs:
            for score in outputs[SCORE].ravel().tolist():
                self.metrics.observe(CONFIDENCE, score, SHARES, model_name=served.name)


def _together(refused: Mapping[int, str], errors: Mapping[int, str], rows: int) -> dict[int, str]:
    """The reasons of the rows that were not computed, and the errors of the others, which are numbered without these
    rows."""
    computed = [row for row in range(rows) if row not in refused]
    return {**refused, **{computed[place]: message for place, message in errors.items()}} if refused else dict(errors)


def _by_halves(served: Served, signature: Signature, arrays: Arrays, wanted: Sequence[str], error: ServingError
               ) -> tuple[Arrays, dict[int, str]]:
    """The outputs of the rows that can be computed, and the errors of those that cannot. Raises the error where none
    can, and where the outputs are not one row for each row."""
    n, end = rows_of(arrays) or 0, time.monotonic() + served.timeout
    errors: dict[int, str] = {}
    parts: list[Arrays] = []
    mixed: list[bool] = []  # whether there are more or fewer outputs than rows

    def compute(rows: range, known: ServingError | None = None) -> None:
        try:
            if known is not None:
                raise known
            if time.monotonic() > end:
                raise ServingError(Code.DEADLINE_EXCEEDED, f"no answer within {served.timeout:g} seconds; the first of "
                                   f"the rows that cannot be computed: {error.message}")
            part = signature.run({name: array[rows.start:rows.stop] for name, array in arrays.items()}, wanted)
            parts.append(part)
            mixed.append(rows_of(part) != len(rows))
        except ServingError as failure:
            if failure.code is not Code.INVALID_ARGUMENT:
                raise
            if len(rows) == 1:
                errors[rows.start] = asserted(failure.message) or failure.message
                return
            half = len(rows) // 2
            compute(rows[:half])
            compute(rows[half:])

    compute(range(n), error)
    if any(mixed):
        raise error
    if len(errors) == n:
        raise ServingError(error.code, "; ".join(dict.fromkeys(errors.values())))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, errors
