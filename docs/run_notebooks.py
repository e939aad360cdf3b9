"""Runs the notebooks of the tutorials from top to bottom.

python docs/run_notebooks.py [NOTEBOOK ...] [NAME=VALUE ...]

Without a notebook, runs all in docs/tutorials, in a temporary folder that sees the samples of `make quickstart`. An
assignment replaces that of a notebook's first code cell, for example DATA=photos. Prints what the cells print. The exit
code is 1 if a cell fails. The notebooks themselves are not changed.
"""

import ast
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def cells(notebook: Path) -> list[str]:
    """The source of each code cell."""
    document = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def run(notebook: Path, values: dict[str, str]) -> bool:
    """Run the code cells in one namespace, and print the value of a cell's last expression. Returns whether all ran."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(cells(notebook), 1):
        print(f"--- {notebook.name}, cell {number}", flush=True)
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        try:
            exec(compile(tree, f"{notebook.name}, cell {number}", "exec"), namespace)
            if number == 1:
                namespace.update(values)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"{notebook.name}, cell {number}", "eval"), namespace)
                if value is not None:
                    print(value, flush=True)
        except Exception:
            traceback.print_exc()
            return False
    return True


def main(words: list[str]) -> int:
    """Run the notebooks that are named. Returns the exit code."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    notebooks = [Path(word).resolve() for word in words if "=" not in word]
    notebooks = notebooks or sorted((ROOT / "docs/tutorials").glob("*.ipynb"))
    values = {name: str(Path(value).resolve()) if Path(value).exists() else value for name, value in values.items()}
    with tempfile.TemporaryDirectory() as folder:
        if (ROOT / "samples").exists():
            (Path(folder) / "samples").symlink_to(ROOT / "samples")
        os.chdir(folder)
        return 0 if all([run(notebook, values) for notebook in notebooks]) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
