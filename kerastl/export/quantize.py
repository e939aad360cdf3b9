"""Smaller TFLite files made from the float32 file, without converting the model again.

`ai-edge-quantizer` does it for weights and activations. What it leaves out and the converter does is added here:
float16 for every constant, 8 bits for the table of an embedding, and biases that fit into their 32 bits.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.export.lite_graph import CODES, LiteGraph, per_tensor
from kerastl.runtime import quiet_stderr

SIGNATURE = "serving_default"
LEAST = 1024  # elements from which a constant is stored in 8 bits, as the converter has it
LARGEST_BIAS = 2 ** 30  # half of what 32 bits hold, so that the products are added without an overflow
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}  # operators of an input, weights and a bias
WEIGHTS, BIAS = 1, 2  # places among their inputs
# Layers that stay in floats: histograms divide by what 8 bits would round to 0.
IN_FLOATS = ("histograms",)
CONVERTS = {"CAST", "QUANTIZE", "DEQUANTIZE"}  # operators between floats and integers
FLOAT32 = CODES[np.dtype(np.float32)]


def float16(content: bytes) -> bytes:
    """The file with its float32 constants stored in float16, if they fit; the arithmetic stays float32."""
    graph = LiteGraph(content)
    for tensor in list(graph.constants(np.float32)):
        readers, value = graph.readers(tensor), graph.constant(tensor)
        if np.abs(value).max() > np.finfo(np.float16).max:  # as of a mask: it would become infinite
            continue
        narrow = value.astype(np.float16)
        if value.any() and not narrow.any():  # as of the epsilon of a normalization: it would become 0
            continue
        graph.set_constant(tensor, narrow)
        wide = graph.dequantized(tensor, before=0)
        for operator in readers:
            _replace(operator.inputs, tensor, wide)
    return graph.written()


def dynamic(content: bytes) -> bytes:
    """The file with 8-bit weights; activations are quantized while it runs, by the range of each row."""
    from ai_edge_quantizer import recipe

    graph = LiteGraph(_quantized(content, recipe.dynamic_legacy_wi8_afp32()))
    for operator in graph.operators:  # inputs are not centred on 0, as after GELU or softmax
        if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
            operator.builtinOptions.asymmetricQuantizeInputs = True
    for tensor in list(graph.constants(np.float32)):
        readers, table = graph.readers(tensor), graph.constant(tensor)
        if table.size >= LEAST and readers and all(graph.name(operator) == "GATHER" for operator in readers):
            _gather_in_8_bits(graph, tensor, table)
    return graph.written()


def int8(content: bytes, name: str, rows: Sequence[NDArray[Any]], threads: int) -> bytes:
    """The file in integer arithmetic, which still takes what it took and returns float32.

    name: of its input. rows: what it may take, [1, ...] each, from which the ranges of the activations are taken.
    """
    from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    with quiet_stderr():
        ranges = calibrator.Calibrator(
            content, num_threads=threads, mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update)  # the default, a moving average, cuts off what is rare
        ranges.calibrate({SIGNATURE: [{name: row} for row in rows]}, recipe_manager.RecipeManager())
    names = qtyping.TFLOperationName
    floats = [(".*", names.OUTPUT), *((f".*/{layer}.*", names.ALL_SUPPORTED) for layer in IN_FLOATS)]
    keep = [{"regex": regex, "operation": operation, "algorithm_key": algorithm_manager.AlgorithmName.NO_QUANTIZE,
             "op_config": {}} for regex, operation in floats]
    graph = LiteGraph(_quantized(content, [*recipe.static_wi8_ai8(), *keep], ranges.get_model_qsvs()))
    _fit_biases(graph, LiteGraph(content))
    return graph.written()


def float_operators(content: bytes) -> set[str]:
    """The operators of an `int8` file that compute with floats, though their layer is not one that is kept in
    floats."""
    graph = LiteGraph(content)
    return {graph.name(operator) for operator in graph.operators if graph.name(operator) not in CONVERTS
            and any(graph.tensors[tensor].type == FLOAT32 and not _in_floats(graph, tensor)
                    for tensor in operator.outputs)}


def _in_floats(graph: LiteGraph, tensor: int) -> bool:
    return any(f"/{layer}" in graph.tensors[tensor].name.decode() for layer in IN_FLOATS)


def runs_dynamic(content: bytes) -> bool:
    """Whether LiteRT runs a `dynamic` file: it has no product of 8-bit weights with floats on their right."""
    graph = LiteGraph(content)
    return not any(graph.name(operator) == "BATCH_MATMUL" and graph.is_quantized(operator.inputs[0])
                   and not graph.is_quantized(operator.inputs[1]) for operator in graph.operators)


def _quantized(content: bytes, recipe: Any, ranges: Any = None) -> bytes:
    from ai_edge_quantizer import quantizer

    with quiet_stderr(), warnings.catch_warnings(), np.errstate(invalid="ignore"):  # of a bias: see _fit_biases
        warnings.filterwarnings("ignore", message="Warning: Enabling `experimental_preserve_all_tensors`")
        made = quantizer.Quantizer(content, recipe).quantize(ranges, enable_progress_report=False)
    return bytes(made.quantized_model)


def _replace(places: list[int], old: int, new: int) -> None:
    places[:] = [new if place == old else place for place in places]


def _gather_in_8_bits(graph: LiteGraph, tensor: int, table: NDArray[np.float32]) -> None:
    """Rows are taken from a table of 8 bits, and only these become float32."""
    scale = float(np.abs(table).max()) / 127 or 1.0
    graph.set_constant(tensor, np.rint(table / scale).astype(np.int8))
    graph.tensors[tensor].quantization = per_tensor(scale)
    for operator in graph.readers(tensor):
        (taken,) = operator.outputs
        readers = graph.readers(taken)
        graph.tensors[taken].type, graph.tensors[taken].quantization = graph.tensors[tensor].type, per_tensor(scale)
        wide = graph.dequantized(taken, before=graph.operators.index(operator) + 1)
        for reader in readers:
            _replace(reader.inputs, taken, wide)


def _fit_biases(graph: LiteGraph, original: LiteGraph) -> None:
    """Where weights are so small that the bias, in units of weight times input, exceeds 32 bits, widen these units.

    The quantizer cuts such a bias off, which changes the channel's output by all that was cut.
    """
    floats = [operator for operator in original.operators if original.name(operator) in WEIGHTED]
    quantized = [operator for operator in graph.operators if graph.name(operator) in WEIGHTED]
    for operator, source in zip(quantized, floats, strict=True):
        if len(operator.inputs) > BIAS and operator.inputs[BIAS] >= 0 and graph.is_quantized(operator.inputs[BIAS]):
            weights, bias = (original.constant(source.inputs[place]) for place in (WEIGHTS, BIAS))
            _fit_bias(graph, operator, weights, bias)


def _fit_bias(graph: LiteGraph, operator: Any, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    taken, weight, added = (graph.tensors[tensor].quantization for tensor in operator.inputs)
    scales = np.array(weight.scale)  # of each channel, or one for all
    unit = scales * taken.scale[0]
    excess = np.abs(bias) / (unit * LARGEST_BIAS)
    excess = np.maximum(excess if len(scales) > 1 else excess.max(keepdims=True), 1.0)
    if (excess == 1).all():
        return
    wider, unit = scales * excess, unit * excess
    shape = [-1 if axis == weight.quantizedDimension and len(scales) > 1 else 1 for axis in range(weights.ndim)]
    graph.set_constant(operator.inputs[WEIGHTS], np.rint(weights / wider.reshape(shape)).astype(np.int8))
    graph.set_constant(operator.inputs[BIAS], np.rint(bias / unit).astype(np.int32))
    weight.scale, added.scale = wider.tolist(), unit.tolist()
