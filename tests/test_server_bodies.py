"""The bodies of REST requests and answers, by the cases that TF Serving's own tests describe."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastl.server.bodies import answer_body, error_body, examples_body, predict_body
from kerastl.server.status import Code, ServingError
from kerastl.server.tensors import written

FLOAT, INT, TEXT = np.dtype(np.float32), np.dtype(np.int32), np.dtype(object)


def inputs(document: str | dict[str, Any], **dtypes: np.dtype[Any]) -> dict[str, Any]:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return predict_body(body, lambda name: dtypes).inputs


def refused(document: Any, **dtypes: np.dtype[Any]) -> str:
    with pytest.raises(ServingError) as error:
        inputs(document, **(dtypes or {"x": INT}))
    assert error.value.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
    return error.value.message


def test_rows_and_columns_become_arrays() -> None:
    assert inputs({"instances": [[1, 2], [3, 4], [5, 6]]}, x=INT)["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert inputs({"inputs": [[1, 2], [3, 4]]}, x=INT)["x"].shape == (2, 2)
    assert inputs({"inputs": 5}, x=INT)["x"].shape == () and inputs({"instances": [5]}, x=INT)["x"].shape == (1,)
    named = inputs({"instances": [{"a": 1, "b": [1.5, 2]}, {"a": 2, "b": [3, 4.5]}]}, a=INT, b=FLOAT)
    assert named["a"].tolist() == [1, 2] and named["b"].dtype == FLOAT and named["b"].shape == (2, 2)
    columns = inputs({"inputs": {"a": [1, 2], "b": [[1.5], [3]], "more": 3}}, a=INT, b=FLOAT)
    assert columns["a"].tolist() == [1, 2] and columns["b"].shape == (2, 1) and "more" not in columns
    assert inputs({"instances": [{"x": 1}, {"x": 2}]}, x=INT)["x"].tolist() == [1, 2]


def test_binary_data_can_stand_wherever_a_string_can() -> None:
    picture = {"b64": base64.b64encode(b"\xff\x00").decode()}
    assert inputs({"instances": [picture, "text"]}, x=TEXT)["x"].tolist() == [b"\xff\x00", b"text"]
    assert inputs({"instances": [{"x": picture}]}, x=TEXT)["x"].tolist() == [b"\xff\x00"]
    assert inputs({"inputs": picture}, x=TEXT)["x"].tolist() == b"\xff\x00"
    assert inputs({"inputs": {"x": [[picture]]}}, x=TEXT)["x"].shape == (1, 1)
    assert inputs({"instances": [{"b64": "_-8"}]}, x=TEXT)["x"].tolist() == [b"\xff\xef"]  # the URL alphabet, unpadded
    for hello in ("aGVs\nbG8=\n", "aGVsbG8", "aGVsbG8.", " aGVsbG8= "):  # as base64.encodebytes writes it, for one
        assert inputs({"instances": [{"b64": hello}]}, x=TEXT)["x"].tolist() == [b"hello"], hello
    for wrong in ("ab*=", "aGVsbG8==", "a", "é", "aGVsbG8=x"):
        assert "base64 decode" in refused({"instances": [{"b64": wrong}]}, x=TEXT), wrong
    assert "expecting list of objects" in refused({"instances": [picture]}, a=TEXT, b=TEXT)
    assert "not of expected type: float" in refused({"inputs": picture}, x=FLOAT)
    assert "found at incorrect level: 2" in refused({"inputs": [[picture], "text"]}, x=TEXT)
    assert inputs(b'{"instances": ["\xff"]}'.decode("latin-1"), x=TEXT)["x"].tolist() == ["ÿ".encode()]


def test_numbers_are_what_was_sent() -> None:
    mixed = inputs({"instances": [1, 2.0, 3, 5.003, 0.007]}, x=FLOAT)["x"]
    assert mixed.tolist() == np.array([1, 2, 3, 5.003, 0.007], np.float32).tolist()
    special = inputs('{"instances": [NaN, Infinity, -Infinity]}', x=FLOAT)["x"]
    assert np.isnan(special[0]) and special[1:].tolist() == [np.inf, -np.inf]
    assert inputs({"instances": [1.7e308]}, x=FLOAT)["x"].tolist() == [np.inf]
    assert inputs({"instances": [2.3e-308]}, x=FLOAT)["x"].tolist() == [0.0]
    assert inputs({"instances": [16777217.0]}, x=FLOAT)["x"].tolist() == [16777216.0]
    assert "loss of precision" in refused({"instances": [16777217]}, x=FLOAT)
    assert "loss of precision" in refused({"instances": [9007199254740993]}, x=np.dtype(np.float64))
    for big in ("1" + "0" * 400, "1e400", "-1e999", "NaN, 1e400", "Infinity, -1e400"):
        assert "Number too big to be stored in double" in refused(f'{{"instances": [{big}]}}', x=FLOAT), big
    assert inputs('{"instances": [1e2, 1E+2, -0, 1.5e-3]}', x=FLOAT)["x"].tolist()[:3] == [100, 100, 0]
    assert inputs({"instances": [9007199254740992]}, x=np.dtype(np.float64))["x"].tolist() == [2.0**53]
    for dtype, wrong in ((INT, 1.5), (INT, 2**31), (np.dtype(np.uint8), 256), (np.dtype(np.int8), -129), (INT, True),
                         (FLOAT, True), (np.dtype(bool), 1), (TEXT, 1), (FLOAT, "1"), (FLOAT, None)):
        assert "is not of expected type" in refused({"instances": [wrong]}, x=dtype), (dtype, wrong)
    assert "to type: complex64" in refused({"instances": [1]}, x=np.dtype(np.complex64))


def test_what_is_ragged_or_mixed_is_named() -> None:
    assert "Expecting tensor size: 2 but got: 1" in refused({"instances": [[1, 2], [3]]})
    assert "Expecting shape [2,2] but got: [1,4]" in refused({"instances": [[[1, 2], [3, 4]], [[1, 2, 3, 4]]]})
    assert "Expecting shape [] but got: [1]" in refused({"instances": [1, [2]]})
    assert "unexpected size: 1 at level: 1" in refused({"inputs": [[1, 2], [3]]})
    assert "unexpected level: 1 expected < 1" in refused({"inputs": [1, [2]]})
    assert "incorrect level: 2" in refused({"inputs": [[1], 2]})
    assert "Expecting object but got list at item 1" in refused({"instances": [{"x": 1}, [2]]})
    assert "Expecting value/list but got object at item 1" in refused({"instances": [[2], {"x": 1}]})
    assert "key: x of 'instances' list" in refused({"instances": [{"x": 1}, {"x": "2"}]})
    assert "does not have named input: y" in refused({"instances": [{"x": 1, "y": 2}]})
    assert "keys must be equal to: a,b" in refused({"instances": [{"a": 1}]}, a=INT, b=INT)
    assert "Missing named input: b" in refused({"inputs": {"a": 1}}, a=INT, b=INT)
    assert "expecting list of objects" in refused({"instances": [1]}, a=INT, b=INT)
    assert "expecting an object as multiple" in refused({"inputs": [1]}, a=INT, b=INT)


@pytest.mark.slow
@pytest.mark.parametrize(("document", "words"), [
    ("", "The document is empty"), ("   ", "The document is empty"), ("instances = [1, 2]", "Invalid value"),
    ("[1, 2]", "Is not object"), ('{"instances": [1,', "JSON Parse error"),
    ("{}", "Missing 'inputs' or 'instances' key"),
    ({"instances": [1], "inputs": [1]}, "Not formatted correctly"), ({"instances": 1}, "to be an list/array"),
    ({"instances": []}, "No values in"), ({"signature_name": 5, "instances": [1]}, "must be a string value"),
    ({"signature_name": [[]], "instances": [1]}, "must be a string value"),
    ('{"instances": [' + "9" * 5000 + "]}", "JSON Parse error"),
    ('{"instances":' + "[" * 100_000 + "]" * 100_000 + "}", "more than 64 dimensions"),
    ('{"instances":[' + "[" * 70 + "1" + "]" * 70 + ",1]}", "more than 64 dimensions"),
    ('{"signature_name":' + "[" * 500_000 + "]" * 500_000 + "}", "must be a string value"),
    ('{"instances":[1],"a":' + "[" * 2000 + "]" * 1999 + "}", "JSON Parse error: Invalid value"),
    ('{"instances":[1],"a":' + "[" * 2000 + '"\\"', "JSON Parse error: Missing a closing"),
    ('{"instances":[1],"a":' + "[" * 1_000_001, "nested too deeply"),
    ('{"instances":[1],"instances":[2]}', 'the key "instances" stands twice'),
    ('{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
    ('{"a":"\\\\\\udc00"}', "The surrogate pair in string is invalid. at offset: 8"),
])
def test_a_document_that_is_no_request_is_refused(document: Any, words: str) -> None:
    assert words in refused(document)


@pytest.mark.slow
def test_a_document_may_hold_what_no_tensor_can() -> None:
    assert inputs('{"instances":[1],"nested":' + "[" * 500_000 + "]" * 500_000 + "}", x=INT)["x"].tolist() == [1]
    deep = '{"a":' * 2000 + '"]}\\"{"' + "}" * 2000
    assert inputs('{"nested":' + deep + ',"instances":[1, 2]} and more', x=INT)["x"].tolist() == [1, 2]
    assert inputs(b'\xef\xbb\xbf {"instances":[1]}'.decode(), x=INT)["x"].tolist() == [1]  # a byte order mark
    assert inputs('{"instances":["\\ud83d\\ude00", "\\\\ud800"]}', x=TEXT)["x"].tolist() == ["😀".encode(), b"\\ud800"]
    with pytest.raises(ServingError) as error:
        predict_body(b'{"instances": [{"\xff": 1}]}', lambda name: {"x": INT})
    assert "does not have named input: ?" in json.loads(error_body(error.value.message).encode())["error"]


def test_what_follows_the_document_is_ignored() -> None:
    assert inputs('{"instances": [1]} and more', x=INT)["x"].tolist() == [1]


# Answers


def test_one_output_is_written_without_its_name() -> None:
    x = np.array([[1.0], [2.5]], np.float32)
    assert json.loads(answer_body({"x": x}, True)) == {"predictions": [[1.0], [2.5]]}
    assert json.loads(answer_body({"x": x}, False)) == {"outputs": [[1.0], [2.5]]}
    both = {"x": x, "n": np.array([1, 2])}
    assert json.loads(answer_body(both, True)) == {"predictions": [{"n": 1, "x": [1.0]}, {"n": 2, "x": [2.5]}]}
    assert json.loads(answer_body(both, False)) == {"outputs": {"n": [1, 2], "x": [[1.0], [2.5]]}}
    assert json.loads(answer_body({"x": np.zeros((0, 3), np.float32)}, True)) == {"predictions": []}
    assert json.loads(answer_body({"x": np.zeros((2, 0), np.float32)}, True)) == {"predictions": [[], []]}


def test_strings_are_text_and_those_named_bytes_are_binary() -> None:
    words = np.array([b"hello", b"w\xc3\xb6rld"], object)
    assert json.loads(answer_body({"s": words}, True)) == {"predictions": ["hello", "wörld"]}
    assert json.loads(answer_body({"s_bytes": words[:1]}, True)) == {"predictions": [{"b64": "aGVsbG8="}]}


def test_numbers_have_six_digits_or_as_many_as_they_need() -> None:
    numbers = np.array([[9000000, 999999, 0.5], [0.0003, 0.00003, 555557.5]], np.float32)
    assert written(numbers) == "[[9e+06, 999999.0, 0.5], [0.0003, 3e-05, 555557.5]]"
    assert written(np.array([np.nan, np.inf, 3, -np.inf], np.float32)) == "[NaN, Infinity, 3.0, -Infinity]"
    assert written(np.array([True, False])) == "[true, false]" and written(np.array(3, np.int64)) == "3"


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_a_float_is_read_back_as_it_was(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    assert (inputs(f'{{"instances": {written(array)}}}', x=FLOAT)["x"] == array).all()


def test_outputs_without_one_batch_size_cannot_be_rows() -> None:
    for outputs, words in (({"a": np.zeros(2), "b": np.zeros(3)}, "inconsistent batch size: 3 expecting: 2"),
                           ({"a": np.array(1.0)}, "no shape information"), ({}, "empty tensor map"),
                           ({"a": np.zeros(1, np.complex64)}, "tensor type: complex64")):
        with pytest.raises(ServingError, match=words):
            answer_body(outputs, True)


def test_a_row_that_has_no_answer_has_an_error_in_its_place() -> None:
    body = json.loads(answer_body({"x": np.array([1.0, 3.0])}, True, {1: "no image", 3: "none either"}))
    assert body == {"predictions": [1.0, {"error": "no image"}, 3.0, {"error": "none either"}]}


# Examples


def test_examples_have_features_of_one_kind() -> None:
    signature, made = examples_body(json.dumps({"signature_name": "s", "examples": [
        {"name": "hal", "ages": [1, 2], "big": True, "share": 0.5, "raw": {"b64": "AQ=="}}, {}]}).encode())
    feature = made.example_list.examples[0].features.feature
    assert signature == "s" and len(made.example_list.examples) == 2
    assert list(feature["ages"].int64_list.value) == [1, 2] and list(feature["big"].int64_list.value) == [1]
    assert list(feature["name"].bytes_list.value) == [b"hal"] and list(feature["raw"].bytes_list.value) == [b"\x01"]
    assert list(feature["share"].float_list.value) == [0.5]
    _, made = examples_body(b'{"context": {"a": 1}, "examples": [{"b": 2}]}')
    assert made.example_list_with_context.context.features.feature["a"].int64_list.value[0] == 1


@pytest.mark.parametrize(("document", "words"), [
    ({}, "'examples' is expected and was not found"), ({"examples": {}}, "to be an list/array"),
    ({"examples": []}, "is an empty array"), ({"examples": [5]}, "Example must be JSON object"),
    ({"examples": [{"n": None}]}, "unexpected JSON type: Null"), ({"examples": [{"n": {"a": 1}}]}, "type: Object"),
    ({"examples": [{"n": [[1]]}]}, "type: Array"), ({"examples": [{"n": [1, "a"]}]}, "expecting type: int64"),
    ({"examples": [{"n": 2**63}]}, "Only int64_t is supported"),
    ({"context": 5, "examples": [{}]}, "must be JSON object"),
    (b'{"examples": [{"n": 1e400}]}', "Number too big"), (b'{"examples": [{"\xff": 1}]}', "feature . is not UTF-8"),
])
def test_examples_that_are_none_are_refused(document: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        examples_body(document if isinstance(document, bytes) else json.dumps(document).encode())
