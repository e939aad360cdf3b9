"""What a loaded model makes of a request: Predict, Classify, Regress and MultiInference, as TF Serving defines them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2, regression_pb2

from kerastl.server.bodies import Arrays
from kerastl.server.signatures import DEFAULT, SavedModel, Signature
from kerastl.server.status import Code, ServingError, invalid
from kerastl.server.tensors import dtype_name

INPUTS, OUTPUTS, CLASSES, SCORES = "inputs", "outputs", "classes", "scores"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

# Computes the wanted outputs of a signature for checked inputs; all where none are named.
Run = Callable[[Signature, Arrays, Sequence[str]], Arrays]


def check_outputs(signature: Signature, wanted: Sequence[str]) -> None:
    """Raises ServingError for an output that does not exist, or that is named twice."""
    for place, name in enumerate(wanted):
        if name not in signature.outputs:
            raise invalid(f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                          f"{{{','.join(sorted(signature.outputs))}}}.")
        if name in wanted[:place]:
            raise invalid(f"duplicate output tensor alias: {name}")


def classify(model: SavedModel, name: str, examples: NDArray[Any], run: Run
             ) -> classification_pb2.ClassificationResult:
    """The classes and scores of examples. Raises ServingError for a signature that does not classify."""
    signature = _found(model, name)
    return classifications(signature, run(*_classifying(signature, examples)), len(examples))


def regress(model: SavedModel, name: str, examples: NDArray[Any], run: Run) -> regression_pb2.RegressionResult:
    """The value of each example. Raises ServingError for a signature that does not regress."""
    signature = _found(model, name)
    return regressions(run(*_regressing(signature, examples)), len(examples))


def multi(model: SavedModel, tasks: Sequence[tuple[str, str]], examples: NDArray[Any], run: Run) -> list[Any]:
    """Several tasks on the same examples. tasks: pairs of signature and method. Returns for each a
    ClassificationResult or a RegressionResult. Raises ServingError."""
    names: set[str] = set()
    calls: list[tuple[Signature, str, tuple[Signature, Arrays, list[str]]]] = []
    for name, method in tasks:
        signature = _found(model, name, "Requested signature not found in model graph")
        if signature.name in names:
            raise invalid(f"Duplicate evaluation of signature: {signature.name}")
        names.add(signature.name)
        if method == CLASSIFY:
            calls.append((signature, method, _classifying(signature, examples)))
        elif method == REGRESS:
            calls.append((signature, method, _regressing(signature, examples)))
        else:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
    return [classifications(signature, run(*call), len(examples)) if method == CLASSIFY else
            regressions(run(*call), len(examples)) for signature, method, call in calls]


def examples_of(made: Any, most_bytes: float = math.inf) -> NDArray[Any]:
    """A `tensorflow.serving.Input` as serialised examples, [n]. Each gets the features of the context, where there is
    one. most_bytes: of all these copies of the context. Raises ServingError where there are no examples."""
    kind = made.WhichOneof("kind")
    context = made.example_list_with_context.context.SerializeToString() if kind == "example_list_with_context" else b""
    examples = getattr(made, kind).examples if kind else ()
    if not examples:
        raise invalid("Input is empty.")
    if len(context) * len(examples) > most_bytes:
        raise invalid(f"the context is copied into each of the {len(examples):,} examples, which needs "
                      f"{len(context) * len(examples) / 2**20:,.0f} MB, but the server takes {most_bytes / 2**20:,.0f} "
                      "MB (its option `max_request_mb`)")
    array = np.empty(len(examples), object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def _found(model: SavedModel, name: str, words: str = "No signature was found with the name") -> Signature:
    try:
        return model.signature(name)
    except ServingError as error:
        raise invalid(f"{words}: {name or DEFAULT}") from error


def _classifying(signature: Signature, examples: NDArray[Any]) -> tuple[Signature, Arrays, list[str]]:
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    wanted = [name for name in (CLASSES, SCORES) if name in signature.outputs]
    if not wanted:
        raise invalid('Expected classification signature outputs to contain at least one of "classes" or "scores". '
                      f"Signature was: {signature.name}, with outputs {', '.join(sorted(signature.outputs))}")
    return signature, {INPUTS: examples}, wanted


def _regressing(signature: Signature, examples: NDArray[Any]) -> tuple[Signature, Arrays, list[str]]:
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature.name}, with outputs "
                      f"{', '.join(sorted(signature.outputs))}")
    return signature, {INPUTS: examples}, [OUTPUTS]


def _check_input(signature: Signature, task: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid(f"No {task} inputs found in SignatureDef: {signature.name}, with inputs "
                      f"{', '.join(sorted(signature.inputs))}")


def classifications(signature: Signature, outputs: Arrays, n: int) -> classification_pb2.ClassificationResult:
    """The outputs of a classification of n examples. Raises ServingError for shapes or types that do not fit."""
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for name, array, dtype in ((CLASSES, classes, np.dtype(object)), (SCORES, scores, np.dtype(np.float32))):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}")
        if array.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of {_enum(dtype)}. Got: {_enum(array.dtype)}")
        if len(array) != n:
            raise invalid(f"Expected {name} output batch size of {n}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. "
                      f"{scores.shape[1]}")
    result = classification_pb2.ClassificationResult()
    for row in range(n):
        added = result.classifications.add()
        for column in range((classes if classes is not None else scores).shape[1]):  # type: ignore[union-attr]
            entry = added.classes.add()
            if classes is not None:
                entry.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                entry.score = scores[row, column]
    return result


def _enum(dtype: np.dtype[Any]) -> str:
    """A type as TF Serving names it in these errors: DT_FLOAT."""
    return f"DT_{dtype_name(dtype).upper()}"


def regressions(outputs: Arrays, n: int) -> regression_pb2.RegressionResult:
    """The outputs of a regression of n examples. Raises ServingError for shapes or types that do not fit."""
    values = outputs[OUTPUTS]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise invalid("Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                      f"{list(values.shape)}")
    if len(values) != n:
        raise invalid(f"Input batch size did not match output batch size: {n} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_enum(values.dtype)}")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add().value = value
    return result
