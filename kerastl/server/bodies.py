"""The bodies of REST requests and answers, by the rules of TF Serving's REST API."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.server.documents import parsed
from kerastl.server.status import ServingError, invalid
from kerastl.server.tensors import (
    batch_size,
    from_b64,
    is_b64,
    require_finite,
    rows_written,
    shown,
    to_array,
    written,
)

Arrays = dict[str, NDArray[Any]]
Dtypes = Mapping[str, np.dtype[Any]]
BYTES = "_bytes"  # the end of the names of outputs that are binary


@dataclass(frozen=True)
class PredictBody:
    """A request to predict. rows: whether it is in row format, `instances`; else in columns, `inputs`."""

    signature: str
    inputs: Arrays
    rows: bool


def signature_name(document: Mapping[str, Any]) -> str:
    """The name of the signature that a request asks for; empty for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string "
                      "value.")
    return name


def predict_body(body: bytes, dtypes_of: Callable[[str], Dtypes]) -> PredictBody:
    """Parse a request to predict. dtypes_of: the inputs of a signature. Raises ServingError."""
    document = parsed(body)
    signature = signature_name(document)
    dtypes = dtypes_of(signature)
    if not dtypes:
        raise invalid(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise invalid(f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or "
                      "'instances' keys to exist ")
    if "instances" in document:
        return PredictBody(signature, _from_rows(document, document["instances"], dtypes), True)
    if "inputs" in document:
        return PredictBody(signature, _from_columns(document["inputs"], dtypes), False)
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(document: Mapping[str, Any], instances: Any, dtypes: Dtypes) -> Arrays:
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
    named = _is_object(instances[0])
    if not named and len(dtypes) > 1:
        raise invalid("instances is a plain list, but expecting list of objects as multiple input tensors required as "
                      f"per tensorinfo_map: {', '.join(sorted(dtypes))}")
    for place, instance in enumerate(instances):
        if _is_object(instance) != named:
            raise invalid(f"Expecting object but got list at item {place} of input list" if named else
                          f"Expecting value/list but got object at item {place} of input list")
    if not named:
        (name,) = dtypes
        return {name: _stacked(instances, dtypes[name], "")}
    for place, instance in enumerate(instances):
        for name in instance:
            if name not in dtypes:
                raise _in_element(place, f" key: {name}", f"JSON object: does not have named input: {name}")
        if instance.keys() != dtypes.keys():
            raise invalid(f"Failed to process element: {place} of 'instances' list. JSON object: {shown(instance)} "
                          f"keys must be equal to: {','.join(sorted(dtypes))}")
    return {name: _stacked([instance[name] for instance in instances], dtype, f" key: {name}")
            for name, dtype in dtypes.items()}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_b64(value)


def _stacked(values: Sequence[Any], dtype: np.dtype[Any], key: str) -> NDArray[Any]:
    """The values of one input, all of one shape, as an array with them along its first dimension."""
    try:
        return to_array(list(values), dtype)
    except ServingError:  # find which element it is
        first: NDArray[Any] | None = None
        for place, value in enumerate(values):
            try:
                array = to_array(value, dtype)
            except ServingError as error:
                raise _in_element(place, key, error.message) from error
            first = array if first is None else first
            if array.size != first.size:
                raise _in_element(place, key, f"Expecting tensor size: {first.size} but got: {array.size}") from None
            if array.shape != first.shape:
                raise _in_element(place, key, f"Expecting shape {_shape(first)} but got: {_shape(array)}") from None
        raise


def _in_element(place: int, key: str, message: str) -> ServingError:
    return invalid(f"Failed to process element: {place}{key} of 'instances' list. Error: INVALID_ARGUMENT: {message}")


def _shape(array: NDArray[Any]) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _from_columns(inputs: Any, dtypes: Dtypes) -> Arrays:
    if not _is_object(inputs):
        if len(dtypes) > 1:
            raise invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                          f"per tensorinfo_map: {', '.join(sorted(dtypes))}")
        (name,) = dtypes
        return {name: to_array(inputs, dtypes[name])}
    for name in dtypes:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(inputs[name], dtype) for name, dtype in dtypes.items()}


def answer_body(outputs: Arrays, rows: bool, errors: Mapping[int, str] | None = None) -> str:
    """Outputs as the body of an answer, in the format of the request. errors: by row, of those that have no answer; the
    outputs are those of the other rows."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if not rows:
        columns = {name: written(array, name.endswith(BYTES)) for name, array in sorted(outputs.items())}
        return f'{{\n    "outputs": {_object(columns)}\n}}'
    size = batch_size(outputs)
    by_name = {name: rows_written(array, name.endswith(BYTES)) for name, array in sorted(outputs.items())}
    answers = [_object({name: values[row] for name, values in by_name.items()}) for row in range(size)]
    for row, message in sorted((errors or {}).items()):
        answers.insert(row, json.dumps({"error": message}))
    listed = ",\n        ".join(answers)
    return f'{{\n    "predictions": [{listed}]\n}}'


def _object(values: Mapping[str, str]) -> str:
    """One value alone is written without its name."""
    if len(values) == 1:
        return next(iter(values.values()))
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in values.items()) + "}"


def error_body(message: str) -> str:
    """An error as the body of an answer. A name in the message may contain bytes that are no text."""
    return json.dumps({"error": message.encode("utf-8", "replace").decode()}, ensure_ascii=False)


# Examples, for classify and regress


def examples_body(body: bytes) -> tuple[str, Any]:
    """The signature's name, and a `tensorflow.serving.Input` of the examples in a request to classify or to regress.
    Raises ServingError."""
    from tensorflow_serving.apis import input_pb2

    document = parsed(body)
    signature, examples = signature_name(document), document.get("examples")
    if "examples" not in document:
        raise invalid(f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not "
                      "found")
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    made = input_pb2.Input()
    target = made.example_list
    if "context" in document:
        target = made.example_list_with_context
        target.context.CopyFrom(_example(document["context"]))
    target.examples.extend(map(_example, examples))
    return signature, made


def _example(value: Any) -> Any:
    from tensorflow.core.example import example_pb2

    if not isinstance(value, dict):
        kind = "Array" if isinstance(value, list) else type(value).__name__
        raise invalid(f"Example must be JSON object but got JSON {kind}")
    example = example_pb2.Example()
    for name, content in value.items():
        if (written_name := name.encode("utf-8", "replace").decode()) != name:
            raise invalid(f"the name of the feature {written_name} is not UTF-8")
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)
    return example


def _add(feature: Any, name: str, value: Any) -> None:
    """Add a value to a feature, whose values are all of one kind."""
    stored: Any
    if isinstance(value, bool):
        kind, stored = "int64", int(value)
    elif isinstance(value, int):
        if not -2**63 <= value < 2**63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        kind, stored = "int64", value
    elif isinstance(value, float):
        require_finite([value])
        kind, stored = "float", value
    elif isinstance(value, str):
        kind, stored = "bytes", value.encode("utf-8", "surrogateescape")
    elif is_b64(value):
        kind, stored = "bytes", from_b64(value)
    else:
        names = {type(None): "Null", dict: "Object", list: "Array"}
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {names.get(type(value), type(value))}")
    present = feature.WhichOneof("kind")
    if present not in (None, f"{kind}_list"):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {present.removesuffix('_list')}")
    getattr(feature, f"{kind}_list").value.append(stored)


def results_body(results: Sequence[str]) -> str:
    """The results of classify or regress as the body of an answer."""
    return f'{{\n    "results": [{", ".join(results)}]\n}}'
