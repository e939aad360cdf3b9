"""A SavedModel's graph in fewer bytes: what TensorFlow writes for its inner functions is mostly the names of nodes.

Only functions that others call are rewritten: their nodes and arguments are numbered, what describes them but is not
computed with is dropped, and of functions that compute the same, one is kept. Signatures keep every name.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kerastl.files import read_bytes, write_file

FILE = "saved_model.pb"
SHAPES, SAID_BY_USER = "_output_shapes", "_user_specified_name"  # attributes; TensorFlow infers shapes again
UNUSED = ("_has_manual_control_dependencies", "debug_name")  # once the graph is made


def compact(folder: Path) -> None:
    """Rewrite `saved_model.pb` of a folder."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    saved = saved_model_pb2.SavedModel.FromString(read_bytes(folder / FILE))
    (graph,) = saved.meta_graphs
    _omit_saving(graph)
    entries = graph.object_graph_def.concrete_functions  # what a loaded model can call by name
    library = graph.graph_def.library.function
    # A function that captured a tensor of another one refers to it by name.
    captured_from = {node.captured_tensor.concrete_function for node in graph.object_graph_def.nodes
                     if node.WhichOneof("kind") == "captured_tensor"}
    kept = {*entries, *captured_from}
    for function in library:
        if function.signature.name in captured_from:
            continue
        entry = entries.get(function.signature.name)
        taken = len(function.signature.input_arg)
        _merge_constants(function)
        _number(function, taken if entry is None else len(entry.bound_inputs), nodes=entry is None)
    _merge(graph.graph_def, kept)
    inner = [function.signature.name for function in library if function.signature.name not in kept]
    _rename(graph.graph_def, {name: f"f{place}" for place, name in enumerate(inner)})
    write_file(folder / FILE, saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))


def _omit_saving(graph: Any) -> None:
    """Leave out what would write the variables, and what reads them in the main graph: a served model only restores
    its variables. The name of the saving tensor stays, because TensorFlow 1 loads no model without one."""
    nodes = graph.graph_def.node
    saving = graph.saver_def.save_tensor_name.partition(":")[0]
    calls = {name for node in nodes if node.name == saving for name in _called(node)}
    kept = [node for node in nodes if node.name != saving]
    used = {name.lstrip("^").partition(":")[0] for node in kept for name in node.input}
    kept = [node for node in kept if node.op != "ReadVariableOp" or node.name in used]
    for node in kept:
        for name in (SHAPES, *UNUSED):
            node.attr.pop(name, None)
    functions = [function for function in graph.graph_def.library.function if function.signature.name not in calls]
    for field, remaining in ((nodes, kept), (graph.graph_def.library.function, functions)):
        del field[:]
        field.extend(remaining)


def _number(function: Any, captured: int, nodes: bool) -> None:
    """Give the last arguments of a function, which it captured, and its nodes short names."""
    arguments = list(function.signature.input_arg)
    places = range(len(arguments) - captured, len(arguments))
    names = {arguments[place].name: f"a{place}" for place in places}
    if nodes:
        names |= {node.name: f"n{place}" for place, node in enumerate(function.node_def)}
    reads = any(node.op == "ReadVariableOp" for node in function.node_def)
    for argument in arguments:
        argument.name = names.get(argument.name, argument.name)
        if not reads:  # where variables are only passed on, nobody asks for their shapes
            argument.ClearField("handle_data")
    for node in function.node_def:
        node.name = names.get(node.name, node.name)
        node.ClearField("experimental_debug_info")
        for name in (SHAPES, *UNUSED):
            node.attr.pop(name, None)
    for place in places:
        function.arg_attr[place].attr.pop(SAID_BY_USER, None)
    _redirect(function, names)


def _redirect(function: Any, names: dict[str, str]) -> None:
    """Refer to nodes and arguments by other names."""

    def renamed(reference: str) -> str:  # argument, ^node, node:output:index
        name, colon, rest = reference.lstrip("^").partition(":")
        return "^" * reference.startswith("^") + names.get(name, name) + colon + rest

    for node in function.node_def:
        node.input[:] = [renamed(reference) for reference in node.input]
    for results in (function.ret, function.control_ret):
        for name, reference in list(results.items()):
            results[name] = renamed(reference)


def _merge_constants(function: Any) -> None:
    """Of equal constants, keep the first."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for node in function.node_def:
        if node.op == "Const":
            name, node.name = node.name, ""
            kept = first.setdefault(node.SerializeToString(deterministic=True), name)
            node.name = name
            if kept != name:
                same[name] = kept
    remaining = [node for node in function.node_def if node.name not in same]
    del function.node_def[:]
    function.node_def.extend(remaining)
    _redirect(function, same)


def _merge(graph: Any, entries: set[str]) -> None:
    """Of functions that are equal but for their names, and for the names of equal ones that they call, keep the
    first."""
    functions = graph.library.function
    while True:
        first: dict[bytes, str] = {}
        same: dict[str, str] = {}
        for function in functions:
            name, function.signature.name = function.signature.name, ""
            kept = name if name in entries else first.setdefault(function.SerializeToString(deterministic=True), name)
            function.signature.name = name
            if kept != name:
                same[name] = kept
        if not same:
            return
        remaining = [function for function in functions if function.signature.name not in same]
        del functions[:]
        functions.extend(remaining)
        _rename(graph, same)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename functions where they are defined and called."""
    for function in graph.library.function:
        function.signature.name = names.get(function.signature.name, function.signature.name)
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        node.op = names.get(node.op, node.op)
        for function in _functions(node.attr.values()):
            function.name = names.get(function.name, function.name)


def _called(node: Any) -> Iterator[str]:
    return (function.name for function in _functions(node.attr.values()))


def _functions(attributes: Iterable[Any]) -> Iterator[Any]:
    for value in attributes:
        for function in [value.func, *value.list.func]:
            if function.name:
                yield function
                yield from _functions(function.attr.values())
