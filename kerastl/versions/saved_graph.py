"""The graph of a version's SavedModel: which operations it would run, checked before it is loaded.

A model is a program: TensorFlow runs whatever operations a graph contains, with the user's rights. So a version whose
graph contains an operation that is not in `operations.ALLOWED` is loaded only for a user who trusts it.
"""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError
from kerastl.files import read_bytes
from kerastl.inputs.features import NAME as FEATURES
from kerastl.runtime import without_keras
from kerastl.versions.damage import described, require_unchanged
from kerastl.versions.folder import SAVED_MODEL, VERIFY
from kerastl.versions.operations import ALLOWED
from kerastl.versions.record import RunRecord
from kerastl.versions.token_models import SERVING_MODULES

FILE = SAVED_MODEL
OUTPUTS = {"label", "score", "top_labels", "top_scores", "probabilities"}
FLEX = "Flex"  # before the names of TensorFlow's operations in a TFLite file
TRUST = "set `trust` only if you know where the model comes from: a model is a program"


def check_graph(folder: Path) -> None:
    """Raises ModelError where the SavedModel of a version contains operations that no model needs, or cannot be read.

    All operations that loading and predicting can reach count: from the signatures, from the initializer, and from
    every function that the loaded object has. Those that only write or restore its own variables do not.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(read_bytes(folder / FILE))
    except Exception as error:  # also protobuf's own, whose package has no types
        raise ModelError(f"{folder / FILE} cannot be read: {described(folder, error)}", "a complete version folder",
                         VERIFY) from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise ModelError(f"{folder / FILE} is not a SavedModel as kerastl writes it",
                         "one graph with its objects, in the format of TensorFlow 2", VERIFY)
    if refused := sorted(operations(saved.meta_graphs[0]) - ALLOWED):
        raise refusal(f"the graph in {folder}", refused)


def check_tflite(name: str, content: bytes, trust: bool = False) -> None:
    """Raises ModelError where a TFLite file cannot be read, or contains an operation of TensorFlow that no model needs,
    unless the user trusts it."""
    from tensorflow.lite.python import schema_py_generated as schema

    try:
        if content[4:8] != b"TFL3":
            raise ValueError("it does not begin like a TFLite file")
        model = schema.Model.GetRootAs(content, 0)
        codes = [model.OperatorCodes(i).CustomCode() or b"" for i in range(model.OperatorCodesLength())]
        names = {code.decode().removeprefix(FLEX) for code in codes if code.startswith(FLEX.encode())}
    except Exception as error:  # of any type: the reader follows offsets wherever they lead
        raise ModelError(f"{name} cannot be read: {error}", "the file that `kerastl run` wrote", VERIFY) from error
    if (refused := sorted(names - ALLOWED)) and not trust:
        raise refusal(name, refused)


def refusal(what: str, names: list[str]) -> ModelError:
    """The error for a graph with operations that no model needs. names: of these operations."""
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ModelError(f"{what} contains operations that could do more than compute: {listed}",
                      "operations that read and write no files, use no network and run no Python", TRUST)


def does_not_load(folder: Path, error: Exception) -> ModelError:
    """The error for a version whose SavedModel TensorFlow cannot load. error: TensorFlow's."""
    return ModelError(f"{folder} does not load: {described(folder, error)}", "a complete version folder", VERIFY)


def operations(graph: Any) -> set[str]:
    """The names of the operations that a MetaGraphDef can run, apart from those of its saver."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    names: set[str] = set()
    seen: set[str] = set()
    pending = list(graph.object_graph_def.concrete_functions)
    pending += [name for name, function in functions.items() if "api_implements" in function.attr]  # may be swapped in
    for node in _reached(graph):
        pending += _called(node, functions, names)
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            pending += _called(node, functions, names)
    return names


def _reached(graph: Any) -> Iterator[Any]:
    """The nodes of the main graph that its signatures and initializers need."""
    nodes = {node.name: node for node in graph.graph_def.node}
    pending = [tensor for signature in graph.signature_def.values() for info in signature.outputs.values()
               for tensor in _tensors(info)]
    pending += [name for collection in graph.collection_def.values() for name in collection.node_list.value]
    seen: set[str] = set()
    while pending:
        name = pending.pop().lstrip("^").partition(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        pending += nodes[name].input
        yield nodes[name]


def _tensors(info: Any) -> list[str]:
    sparse = info.coo_sparse
    parts = [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [info.name, *parts, *(name for part in info.composite_tensor.components for name in _tensors(part))]


def _called(node: Any, functions: dict[str, Any], names: set[str]) -> list[str]:
    """The functions that a node calls. Adds its operation to `names`, unless it is a call by the function's name."""
    if node.op in functions:
        return [node.op, *_named(node.attr.values())]
    names.add(node.op)
    return list(_named(node.attr.values()))


def _named(attributes: Iterable[Any]) -> Iterator[str]:
    for value in attributes:
        for function in [value.func, *value.list.func]:
            if function.name:
                yield function.name
                yield from _named(function.attr.values())


def load_saved_model(folder: Path, record: RunRecord, trust: bool = False) -> Any:
    """The SavedModel of a version, loaded, after its graph was checked, unless the user trusts it. record: that of the
    version. Raises ModelError when it is damaged, does not fit its record, or contains operations that no model needs.
    The variables have checksums of their own, which TensorFlow compares.
    """
    import tensorflow as tf

    if not trust:
        check_graph(folder)
        require_unchanged(folder, FILE, "assets")
    with without_keras():
        for module in record.modality.serving_modules:
            importlib.import_module(module)
    try:
        loaded = tf.saved_model.load(str(folder))
        serve = loaded.signatures["serving_default"]
        takes, returns = set(serve.structured_input_signature[1]), dict(serve.structured_outputs)
    except Exception as error:  # of any type: TensorFlow's loader fails in many ways on a damaged file
        raise does_not_load(folder, error) from error
    wanted = FEATURES if record.large is not None else record.modality.raw_input
    classes = returns["probabilities"].shape[-1] if returns.keys() >= OUTPUTS else 0
    if takes != {wanted} or classes not in (None, len(record.classes)):
        raise ModelError(f"{folder} is damaged: its SavedModel takes {', '.join(sorted(takes)) or 'nothing'} and "
                         f"returns {classes} probabilities, but by run.json the model takes {wanted} and has "
                         f"{len(record.classes)} classes", "the files of one version", VERIFY)
    return loaded


def load_token_model(folder: Path, trust: bool = False) -> Any:
    """The SavedModel of a model on tokens, loaded, after its graph was checked, unless the user trusts it. Raises
    ModelError when it is damaged or contains operations that no model needs."""
    import tensorflow as tf

    if not trust:
        check_graph(folder)
        require_unchanged(folder, FILE, "assets")
    with without_keras():
        for module in SERVING_MODULES:
            importlib.import_module(module)
    try:
        loaded = tf.saved_model.load(str(folder))
        loaded.signatures["words"]
    except Exception as error:  # of any type: TensorFlow's loader fails in many ways on a damaged file
        raise does_not_load(folder, error) from error
    return loaded
