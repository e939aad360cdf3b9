"""A copied recipe shows its steps, also where the recipe itself is only a pipeline with other defaults."""

import ast
from collections.abc import Mapping
from pathlib import Path

from kerastl.files import read_text

STEPS = {"classify_images": "inception_v3_images", "classify_texts": "bert_text"}  # pipeline: the recipe with its steps


def spelled_out(source: str, recipes: Mapping[str, Path]) -> str:
    """A recipe's source in which `main = tl.as_main(tl.PIPELINE)` is replaced by the steps of that pipeline. Any other
    source is returned as it is. recipes: every recipe's file by name."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "main" and isinstance(node.value, ast.Call):
            pipeline = ast.unparse(node.value.args[0]).rpartition(".")[2]
            shown = read_text(recipes[STEPS[pipeline]])
            lines = source.splitlines(keepends=True)
            before, after = "".join(lines[:node.lineno - 1]), "".join(lines[node.end_lineno:])
            return before + _main_of(shown) + "\n" + after
    return source


def _main_of(source: str) -> str:
    body = ast.parse(source).body
    function = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main")
    return (ast.get_source_segment(source, function) or "") + "\n"
