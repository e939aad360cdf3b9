"""SavedModels of all kinds: TensorFlow 1 and 2, control flow, sparse and ragged tensors, resources."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from served import half_plus, serving, signatures, stubs
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

import kerastl as tl
from kerastl.server.inference import classifications, regressions
from kerastl.server.loading import WARMUP, warm_up
from kerastl.server.signatures import MOST_CALLS, load
from kerastl.server.status import Code, ServingError

V1 = tf.compat.v1
FLOATS = tf.TensorSpec([None], tf.float32)


def of_tensorflow_1(folder: Path, build: Callable[[Any], dict[str, Any]], placeholder: Any = V1.placeholder) -> Path:
    """A SavedModel of TensorFlow 1. build: the outputs of a signature for its input `x`, floats."""
    enabled = V1.control_flow_v2_enabled()
    V1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), V1.Session() as session:
            shape = [None] if placeholder is V1.placeholder else [None, 2]
            x, info = placeholder(tf.float32, shape, name="x"), V1.saved_model.build_tensor_info
            outputs = {name: info(tensor) for name, tensor in build(x).items()}
            session.run([V1.global_variables_initializer(), V1.tables_initializer()])
            signature = V1.saved_model.signature_def_utils.build_signature_def(
                {"x": info(x)}, outputs, "tensorflow/serving/predict")
            builder = V1.saved_model.Builder(str(folder / "1"))
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature},
                                                 main_op=V1.tables_initializer())
            builder.save()
    finally:
        if enabled:
            V1.enable_control_flow_v2()
    return folder


def test_loops_conditions_and_tables_of_tensorflow_1_need_no_trust(tmp_path: Path) -> None:
    def build(x: Any) -> dict[str, Any]:
        _, doubled = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, 2 * a), [0, x])
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["1"], ["one"]), "other")
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: doubled, lambda: -doubled),
                "word": table.lookup(tf.strings.as_string(tf.cast(x, tf.int32)))}

    with serving(of_tensorflow_1(tmp_path / "m", build)) as server:
        assert server.post("/v1/models/m:predict", {"inputs": [1, 2]}) == (200, {"outputs": {
            "y": [8.0, 16.0], "word": ["one", "other"]}})


@pytest.mark.parametrize("made", ["sparse", "ragged", "resource"])
def test_a_model_with_tensors_that_cannot_be_sent_is_served_for_the_others(tmp_path: Path, made: str) -> None:
    if made == "ragged":
        signatures(tmp_path / "m", {"serving_default": (
            lambda x: {"odd": tf.RaggedTensor.from_row_lengths(x, [1, 1]), "y": x + 1}, {"x": FLOATS})})
    else:
        of_tensorflow_1(tmp_path / "m", lambda x: {"y": x + 1, "odd": tf.sparse.from_dense(x) if made == "sparse" else
                                                   V1.get_variable("v", [], use_resource=True).handle})
    with serving(tmp_path / "m") as server:
        status, body = server.post("/v1/models/m:predict", {"instances": [1, 2]})
        assert status == 501 and "output 'odd' of signature 'serving_default' is a sparse tensor, a" in body["error"]
        assert server.ask("/v1/models/m/metadata")[0] == 200 and server.ask("/kerastl/models")[0] == 200
        request = predict_pb2.PredictRequest(output_filter=["y"])
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
        assert list(stubs(server)[0].Predict(request, timeout=60).outputs["y"].float_val) == [2.0, 3.0]


@pytest.mark.slow
def test_the_order_in_which_clients_name_outputs_costs_no_memory(tmp_path: Path) -> None:
    names = "abcdefgh"
    path = signatures(tmp_path / "m", {"serving_default": (
        lambda x: {name: x + place for place, name in enumerate(names)}, {"x": FLOATS})})
    model = load(path)
    signature, x = model.signature(""), {"x": np.zeros(1, np.float32)}
    for wanted in permutations(names, 3):
        outputs = signature.run(x, wanted)
        assert [outputs[name][0] for name in wanted] == [names.index(name) for name in wanted]
        assert {*outputs} == {*wanted}
    assert len(signature.calls) <= MOST_CALLS
    model.close()


def test_an_input_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    def build(x: Any) -> dict[str, Any]:
        return {"y": tf.sparse.reduce_sum(x, axis=1)}

    path = of_tensorflow_1(tmp_path / "m", build, V1.sparse_placeholder) / "1"
    model = load(path)
    with pytest.raises(ServingError, match="input 'x' of signature 'serving_default' is a sparse tensor") as error:
        model.signature("").checked({"x": np.zeros((1, 2), np.float32)})
    assert error.value.code is Code.UNIMPLEMENTED
    model.close()


def warm_ups(path: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    (path / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path / WARMUP)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def test_warm_up_requests_run_before_a_version_answers_or_it_does_not_load(tmp_path: Path) -> None:
    path = half_plus(tmp_path / "half")
    model = load(path)
    log = prediction_log_pb2.PredictionLog
    predict = log()
    predict.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
    regress = log()
    regress.regress_log.request.model_spec.signature_name = "regress_x_to_y"
    regress.regress_log.request.input.example_list.examples.add()
    multi = log()
    multi.multi_inference_log.request.input.CopyFrom(regress.regress_log.request.input)
    task = multi.multi_inference_log.request.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.signature_name = "classify_x_to_y"
    warm_ups(path, predict, regress, multi, log())
    assert warm_up(model, path) == 4
    wrong = log.FromString(predict.SerializeToString())
    wrong.predict_log.request.model_spec.signature_name = "none"
    streamed = log(predict_streamed_log={"request": [predict.predict_log.request]})
    for logs, words in (([predict] * 1001, "exceeds the maximum .1000. at"), ([wrong], "not found"),
                        ([log(session_run_log={})], "Unsupported log_type for warmup: session_run_log"),
                        ([streamed], "Unsupported log_type for warmup: predict_streamed_log")):
        warm_ups(path, *logs)
        with pytest.raises(ServingError, match=words):
            warm_up(model, path)
    (path / WARMUP).write_bytes(b"no records" * 10)
    with pytest.raises(tf.errors.DataLossError):
        warm_up(model, path)
    model.close()
    with pytest.raises(tl.ModelError, match="no model can be served: half, version 1"), serving(tmp_path / "half"):
        pass


def test_a_signature_may_take_nothing_and_the_loaders_own_is_listed_as_in_tf_serving(tmp_path: Path) -> None:
    counter = tf.Variable(0.0)

    def increase() -> dict[str, Any]:
        return {"output": counter.assign_add(1.0)}

    module = tf.Module()
    module.counter, module.increase = counter, tf.function(increase, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "m" / "1"), signatures={"incr_counter": module.increase})
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "incr_counter"
    with serving(tmp_path / "m") as server:
        values = [stubs(server)[0].Predict(request, timeout=60).outputs["output"].float_val[0] for _ in range(3)]
        assert values == [1.0, 2.0, 3.0]
        columns = {"signature_name": "incr_counter", "inputs": {}}
        assert server.post("/v1/models/m:predict", columns) == (400, {
            "error": "Failed to get input map for signature: incr_counter"})
        metadata = server.ask("/v1/models/m/metadata")[1]["metadata"]["signature_def"]["signature_def"]
        assert {*metadata} == {"incr_counter", "__saved_model_init_op"}
        status, body = server.post("/v1/models/m:predict", {"signature_name": "__saved_model_init_op", "inputs": 1})
        assert status == 400 and body["error"].endswith("it has incr_counter")


@pytest.mark.parametrize(("outputs", "words"), [
    ({"classes": np.zeros((2, 1), np.float32)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    ({"scores": np.zeros((2, 1))}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
    ({"scores": np.zeros(2, np.float32)}, "Expected Tensor shape: .batch_size num_classes. but got .2."),
    ({"scores": np.zeros((3, 1), np.float32)}, "Expected scores output batch size of 2. Got: 3"),
    ({"classes": np.full((2, 1), b"a", object), "scores": np.zeros((2, 2), np.float32)},
     "Tensors class and score should match in dim_size.1.. Got 1 vs. 2"),
    ({"outputs": np.zeros(2)}, "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ({"outputs": np.zeros((2, 2), np.float32)}, "Expected output Tensor shape to be either .batch_size. or"),
    ({"outputs": np.zeros(3, np.float32)}, "Input batch size did not match output batch size: 2 vs. 3"),
])
def test_outputs_that_are_no_classes_or_values_are_refused(outputs: Any, words: str) -> None:
    signature: Any = type("S", (), {"name": "s"})
    with pytest.raises(ServingError, match=words):
        regressions(outputs, 2) if "outputs" in outputs else classifications(signature, outputs, 2)


def test_classes_and_scores_become_results() -> None:
    signature: Any = type("S", (), {"name": "s"})
    classes, scores = np.array([[b"a", b"\xff"]], object), np.array([[0.0, 1.0]], np.float32)
    both = classifications(signature, {"classes": classes, "scores": scores}, 1).classifications[0].classes
    assert [(entry.label, entry.score) for entry in both] == [("a", 0.0), ("\ufffd", 1.0)]
    for outputs, expected in (({"classes": classes}, [("a", 0.0), ("\ufffd", 0.0)]), ({"scores": scores}, [
            ("", 0.0), ("", 1.0)])):
        entries = classifications(signature, outputs, 1).classifications[0].classes
        assert [(entry.label, entry.score) for entry in entries] == expected
