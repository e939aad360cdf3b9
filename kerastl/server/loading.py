"""Loading a version to serve: its graph is checked, loaded, and warmed up by the requests that it carries."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from kerastl.files import read_bytes
from kerastl.runtime import without_keras
from kerastl.server import inference, signatures
from kerastl.server.bodies import Arrays
from kerastl.server.signatures import SavedModel
from kerastl.server.status import Code, ServingError, invalid
from kerastl.versions.damage import require_unchanged
from kerastl.versions.folder import find_version, is_version
from kerastl.versions.operations import ALLOWED
from kerastl.versions.record import RunRecord
from kerastl.versions.saved_graph import FILE, check_graph, does_not_load, operations, refusal
from kerastl.versions.token_models import SERVING_MODULES, is_token_model

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_WARMUP = 1000  # records that a version may carry, as in TF Serving
# Of SavedModels that kerastl did not write, TensorFlow 1 among them; none reads or writes a file.
OTHERS = frozenset("""
    Assign AssignAdd AssignSub ControlTrigger Enter Exit HashTable InitializeTable IsVariableInitialized LookupTableFind
    LookupTableInsert LookupTableSize LoopCond Merge MutableHashTable NextIteration ParseExample ParseExampleV2
    ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample RefEnter RefExit RefIdentity RefMerge
    RefNextIteration RefSelect RefSwitch Switch Variable VariableV2
""".split())


def load(folder: Path, trust: bool = False) -> tuple[SavedModel, RunRecord | None]:
    """The SavedModel of a version, and its run record if kerastl wrote it, unless it is a model on tokens. Raises
    ModelError where kerastl wrote it and it is damaged, many types of errors for another damaged one; ModelError where
    its graph could do more than compute, unless it is trusted."""
    if is_version(folder):
        tokens = is_token_model(find_version(str(folder)))
        record = None if tokens else RunRecord.read(folder)
        if not trust:
            check_graph(folder)
            require_unchanged(folder, FILE, "assets")
        with without_keras():
            for module in SERVING_MODULES if record is None else record.modality.serving_modules:
                importlib.import_module(module)
        try:
            return signatures.load(folder), record
        except Exception as error:  # of any type: TensorFlow's loader fails in many ways on a damaged file
            raise does_not_load(folder, error) from error
    if not trust:
        _check(folder)
    try:
        return signatures.load(folder), None
    except tf.errors.NotFoundError as error:
        if "Op type not registered" not in str(error):
            raise
        with without_keras():
            importlib.import_module("tensorflow_text")
        return signatures.load(folder), None


def _check(folder: Path) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(read_bytes(folder / FILE))
    refused = sorted(set().union(*map(operations, saved.meta_graphs)) - ALLOWED - OTHERS)
    if refused:
        raise refusal(f"the graph in {folder}", refused)


def warm_up(model: SavedModel, folder: Path) -> int:
    """Run the requests that a version carries for this. Returns their number. Raises ServingError for one that fails,
    and where there are too many, and ModelError where kerastl wrote the version and the requests are damaged."""
    path = folder / WARMUP
    if not path.exists():
        return 0
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path)).take(MOST_WARMUP + 1)]
    except tf.errors.OpError as error:
        if is_version(folder):
            raise does_not_load(folder, error) from error
        raise
    if len(records) > MOST_WARMUP:
        raise invalid(f"Number of warmup records exceeds the maximum ({MOST_WARMUP}) at {path}")
    for record in records:
        run_logged(model, prediction_log_pb2.PredictionLog.FromString(record))
    return len(records)


def run_logged(model: SavedModel, log: Any) -> None:
    """Run the request of a PredictionLog. Raises ServingError."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        signature = model.signature(request.model_spec.signature_name)
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        run_alone(signature, signature.checked(arrays))
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        compute: Callable[..., Any] = inference.classify if kind == "classify_log" else inference.regress
        compute(model, request.model_spec.signature_name, inference.examples_of(request.input), run_alone)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        tasks = [(task.model_spec.signature_name, task.method_name) for task in request.tasks]
        inference.multi(model, tasks, inference.examples_of(request.input), run_alone)
    elif kind is not None:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def run_alone(signature: signatures.Signature, arrays: Arrays, wanted: Any = ()) -> Arrays:
    """Run a signature at once."""
    return signature.run(arrays, wanted)
