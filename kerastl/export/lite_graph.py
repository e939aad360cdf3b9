"""The operations and constants of a TFLite file, to be read and replaced."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

TYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16, schema.TensorType.INT32: np.int32,
    schema.TensorType.INT8: np.int8}
CODES = {np.dtype(dtype): code for code, dtype in TYPES.items()}
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE
Tensor = Any  # schema.TensorT
Operator = Any  # schema.OperatorT


class LiteGraph:
    """The main graph of a file, as the schema's own objects; a tensor is its place in `tensors`."""

    def __init__(self, content: bytes) -> None:
        self._model = flatbuffer_utils.read_model_from_bytearray(content)
        for buffer in self._model.buffers:
            if buffer.data is not None:  # as an array: other sequences are written byte by byte
                buffer.data = np.frombuffer(buffer.data, np.uint8)
        self._graph = self._model.subgraphs[0]
        self.tensors: list[Tensor] = self._graph.tensors
        self.operators: list[Operator] = self._graph.operators
        self._added: dict[bytes, int] = {}  # constants of equal content share a buffer

    def written(self) -> bytes:
        """The file with what was replaced, without the constants that nothing uses any more."""
        tensors = [tensor for graph in self._model.subgraphs for tensor in graph.tensors]
        users = [*tensors, *(self._model.metadata or [])]
        used = sorted({0} | {user.buffer for user in users})  # the first one stands for "none"
        for user in users:
            user.buffer = used.index(user.buffer)
        self._model.buffers = [self._model.buffers[place] for place in used]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self._model))

    def name(self, operator: Operator) -> str:
        """What an operator computes, such as `CONV_2D`."""
        return OPERATORS[flatbuffer_utils.get_builtin_code_from_operator_code(
            self._model.operatorCodes[operator.opcodeIndex])]

    def outputs(self) -> dict[str, int]:
        """The tensors that the file returns, by the names of its signature; none where it has no signature."""
        return {output.name.decode(): output.tensorIndex for signature in self._model.signatureDefs or ()
                for output in signature.outputs}

    def remove_output(self, name: str) -> None:
        """Return an output no longer, and compute no longer what nothing else needs."""
        tensor = self.outputs()[name]
        for signature in self._model.signatureDefs:
            signature.outputs = [output for output in signature.outputs if output.name.decode() != name]
        self._graph.outputs = [output for output in self._graph.outputs if output != tensor]
        needed = {int(output) for output in self._graph.outputs}
        for operator in reversed(list(self.operators)):  # they are in the order of execution
            if needed.isdisjoint(map(int, operator.outputs)):
                self.operators.remove(operator)
            else:
                needed |= {int(place) for place in operator.inputs}
        for place, entry in enumerate(self.tensors):
            if place not in needed:
                entry.buffer = 0  # its constant is then left out

    def readers(self, tensor: int) -> list[Operator]:
        """The operators that take a tensor."""
        return [operator for operator in self.operators if tensor in operator.inputs]

    def constant(self, tensor: int) -> NDArray[Any]:
        """The value of a constant, read-only; its shape. Raises KeyError for another type than those of `TYPES`."""
        entry = self.tensors[tensor]
        shape = () if entry.shape is None else tuple(entry.shape)
        return np.frombuffer(self._model.buffers[entry.buffer].data, TYPES[entry.type]).reshape(shape)

    def constants(self, dtype: Any) -> Iterator[int]:
        """The constants of a type."""
        for tensor, entry in enumerate(self.tensors):
            data = self._model.buffers[entry.buffer].data
            if entry.type == CODES[np.dtype(dtype)] and data is not None and len(data):
                yield tensor

    def is_quantized(self, tensor: int) -> bool:
        """Whether a tensor holds integers that stand for floats."""
        quantization = self.tensors[tensor].quantization
        return quantization is not None and quantization.scale is not None and len(quantization.scale) > 0

    def set_constant(self, tensor: int, value: NDArray[Any]) -> None:
        """Give a constant another value, and the type of that value."""
        content = value.tobytes()
        if content not in self._added:
            self._added[content] = len(self._model.buffers)
            self._model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
        self.tensors[tensor].buffer, self.tensors[tensor].type = self._added[content], CODES[value.dtype]

    def keep_output(self, name: str) -> None:
        """Return only the output of this name in the signature."""
        signature = self._model.signatureDefs[0]
        signature.outputs = [entry for entry in signature.outputs if entry.name.decode() == name]
        (output,) = signature.outputs
        self._graph.outputs = [output.tensorIndex]

    def add_metadata(self, name: str, content: bytes) -> None:
        """Store bytes under a name beside the graph, in place of what is stored there."""
        self._model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(self._model.buffers) - 1
        self._model.metadata = [*(one for one in self._model.metadata or [] if one.name != entry.name), entry]

    def dequantized(self, tensor: int, before: int) -> int:
        """Add an operator that turns a tensor of few bits into float32, before the operator at a place. Returns the
        float32 tensor."""
        wide = copy(self.tensors[tensor])
        wide.name, wide.type, wide.buffer, wide.quantization = wide.name + b"/dequantized", CODES[
            np.dtype(np.float32)], 0, None
        self.tensors.append(wide)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(DEQUANTIZE), [tensor], [
            len(self.tensors) - 1]
        self.operators.insert(before, operator)
        return len(self.tensors) - 1

    def _code(self, builtin: int) -> int:
        for place, code in enumerate(self._model.operatorCodes):
            if flatbuffer_utils.get_builtin_code_from_operator_code(code) == builtin:
                return place
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 3  # DEQUANTIZE of float16 and by channel
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1


def per_tensor(scale: float) -> Any:
    """How a tensor of 8 bits is read: by one scale, zero is zero."""
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [scale], [0]
    return quantization
