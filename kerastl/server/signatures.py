"""A SavedModel in memory: its signatures, with what they take and return, and the session that computes them.

It runs in a session, as in TF Serving, and not as a tf.function: so SavedModels of TensorFlow 1 run too, only the
outputs that are asked for are computed, and closing the session frees all that it held.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2

from kerastl.server.bodies import Arrays
from kerastl.server.status import Code, ServingError, invalid
from kerastl.server.tensors import dtype_name

DEFAULT = "serving_default"
SERVE = "serve"  # the tag of the graph that is served
INIT = "__saved_model_init_op"  # a signature for the loader only, though the metadata list it
MOST_CALLS = 64  # ways to call a signature that are kept ready
UNSENT = np.dtype(np.void)  # of resources, and of what consists of several tensors
CODES = {code.number: code for code in Code}


@dataclass(frozen=True)
class Tensor:
    """What a signature takes or returns. shape: None for a dimension of any size; None alone for any rank."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{dtype_name(self.dtype)} of any shape"
        return f"{dtype_name(self.dtype)} [{', '.join('any' if n is None else str(n) for n in self.shape)}]"

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        return self.shape is None or (len(shape) == len(self.shape) and all(
            wanted in (None, size) for wanted, size in zip(self.shape, shape, strict=True)))


@dataclass(frozen=True)
class Signature:
    """What a SavedModel computes under a name. session: that computes it. tensors: the names in its graph of inputs and
    outputs. defaults: of inputs that may be left out. strict: whether shapes that differ are refused, as in graphs of
    TensorFlow 2; in those of TensorFlow 1 they are named where computing fails."""

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    tensors: Mapping[str, Mapping[str, str]]
    defaults: Mapping[str, NDArray[Any]]
    session: Any
    strict: bool
    calls: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = field(default_factory=dict)

    @property
    def batches(self) -> bool:
        """Whether rows of several requests can be computed together: each input and output has a row per example."""
        return all(tensor.shape is not None and len(tensor.shape) > 0 and tensor.shape[0] is None
                   for tensor in (*self.inputs.values(), *self.outputs.values()))

    def checked(self, arrays: Arrays) -> Arrays:
        """The inputs, with defaults for what is left out. Raises ServingError where names, types or shapes do not fit;
        the message names the input, what is expected and what was received."""
        extra, missing = arrays.keys() - self.inputs.keys(), self.inputs.keys() - arrays.keys() - self.defaults.keys()
        if extra or missing:
            sent, known = (",".join(sorted(names)) for names in (arrays, self.inputs))
            raise invalid(f"input size does not match signature: {len(arrays)}!={len(self.inputs)} len({{{sent}}}) != "
                          f"len({{{known}}}). Sent extra: {{{','.join(sorted(extra))}}}. Missing but required: "
                          f"{{{','.join(sorted(missing))}}}.")
        self._require_dense("inputs", self.inputs)
        for name, array in arrays.items():
            if array.dtype != self.inputs[name].dtype:
                expected, received = dtype_name(self.inputs[name].dtype), dtype_name(array.dtype)
                raise invalid(f"Expects arg[{sorted(self.inputs).index(name)}] to be {expected} but {received} is "
                              f"provided: input {name!r} of signature {self.name!r}: expected {self.inputs[name]}, "
                              f"received {received} {list(array.shape)}")
        if self.strict and (message := self._other_shape(arrays)):
            raise invalid(message)
        return {**self.defaults, **arrays}

    def _other_shape(self, arrays: Arrays) -> str:
        """What to say of the first input whose shape is not that of the signature; empty where there is none."""
        for name, array in arrays.items():
            tensor = self.inputs[name]
            if not (tensor.accepts(array.shape) or tensor.accepts((*array.shape, 1))):  # numbers for rows of one
                return (f"input {name!r} of signature {self.name!r}: expected shape {tensor}, received shape "
                        f"{list(array.shape)}{_hint(tensor, array)}")
        return ""

    def run(self, arrays: Arrays, wanted: Sequence[str] = ()) -> Arrays:
        """The outputs for checked inputs, those that are wanted or all. Raises ServingError, with TensorFlow's
        message."""
        names, fed = tuple(sorted(wanted or self.outputs)), tuple(sorted(arrays))  # clients choose which, in any order
        self._require_dense("outputs", names)
        if len(self.calls) >= MOST_CALLS:
            self.calls.clear()
        call = self.calls.get((fed, names))
        try:
            if call is None:
                call = self.calls[fed, names] = self._call(fed, names)
            return dict(zip(names, map(_array, call(*(arrays[name] for name in fed))), strict=True))
        except tf.errors.OpError as error:
            code, message = CODES.get(error.error_code, Code.UNKNOWN), error.message
        other = self._other_shape(arrays)
        raise ServingError(code, f"{other} ({message})" if other else message)

    def _require_dense(self, side: str, names: Iterable[str]) -> None:
        known = self.inputs if side == "inputs" else self.outputs
        for name in names:
            if not self.tensors[side][name] or known[name].dtype == UNSENT:
                raise ServingError(Code.UNIMPLEMENTED, f"{side[:-1]} {name!r} of signature {self.name!r} is a sparse "
                                   "tensor, a ragged tensor or a resource; only dense tensors can be sent")

    def _call(self, fed: Sequence[str], fetched: Sequence[str]) -> Any:
        """What computes some outputs. Session.run would compare shapes with those of the graph, which TF Serving does
        not do: half_plus_two takes a list of numbers, though its signature says that they come in rows of one."""
        options = config_pb2.CallableOptions(feed=[self.tensors["inputs"][name] for name in fed],
                                             fetch=[self.tensors["outputs"][name] for name in fetched])
        return self.session._make_callable_from_options(options)


def _array(value: Any) -> NDArray[Any]:
    """What a session returns as an array. A single string is bytes, of which NumPy would drop zeros at the end."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _hint(tensor: Tensor, array: NDArray[Any]) -> str:
    """What is often meant: one example without its dimension for the batch."""
    if tensor.shape and tensor.accepts((1, *array.shape)):
        return "; send a list of examples, also if there is only one"
    return ""


@dataclass(frozen=True)
class SavedModel:
    """A SavedModel in memory. definitions: its SignatureDefs, for its metadata."""

    signatures: Mapping[str, Signature]
    definitions: Mapping[str, Any]
    session: Any

    def signature(self, name: str) -> Signature:
        """A signature, by default `serving_default`. Raises ServingError for one that does not exist."""
        try:
            return self.signatures[name or DEFAULT]
        except KeyError:
            raise invalid(f'Serving signature name: "{name or DEFAULT}" not found in signature def; it has '
                          f"{', '.join(sorted(self.signatures))}") from None

    def close(self) -> None:
        """Free what it holds. Nothing may be running."""
        self.session.close()


def load(folder: Path) -> SavedModel:
    """Load the graph with the tag `serve`. Raises many types of errors for a damaged folder."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        with graph.as_default():
            meta = tf.compat.v1.saved_model.load(session, [SERVE], str(folder))
        graph.finalize()
        definitions = dict(meta.signature_def)
        if not definitions.keys() - {INIT}:
            raise ValueError("it has no signatures")
        strict = bool(meta.object_graph_def.nodes)  # TensorFlow 2 keeps objects
        return SavedModel({name: _signature(name, definition, session, strict)
                           for name, definition in definitions.items() if name != INIT}, definitions, session)
    except BaseException:
        session.close()
        raise


def _signature(name: str, definition: Any, session: Any, strict: bool) -> Signature:
    sides = {"inputs": definition.inputs, "outputs": definition.outputs}
    return Signature(name, {key: _tensor(info) for key, info in definition.inputs.items()},
                     {key: _tensor(info) for key, info in definition.outputs.items()},
                     {side: {key: info.name for key, info in infos.items()} for side, infos in sides.items()},
                     {key: tf.make_ndarray(value) for key, value in definition.defaults.items()}, session, strict)


def _tensor(info: Any) -> Tensor:
    try:
        kind = tf.as_dtype(info.dtype)
        dtype = np.dtype(object) if kind == tf.string else np.dtype(kind.as_numpy_dtype)
    except (KeyError, TypeError):  # of a resource, or a ragged tensor
        dtype = UNSENT
    if info.tensor_shape.unknown_rank:
        return Tensor(dtype, None)
    return Tensor(dtype, tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim))
