"""Recipes, found by name: in a checkout beside the package, in an installation inside it."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import kerastl
from kerastl.errors import OptionError, unknown


def recipes_folder() -> Path:
    """Where the recipes lie: beside the package in a checkout, inside it when installed."""
    here = Path(kerastl.__file__).parent
    inside = here / "recipes"
    return inside if inside.is_dir() else here.parent / "recipes"


def recipes() -> dict[str, Path]:
    """Every recipe's file by name."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.py")) if not path.stem.startswith("_")}


def load_recipe(name: str) -> ModuleType:
    """The module of a recipe: one of ours by name, or a file of the user's by its path.

    Raises OptionError for a name that is not known, or a file that defines no `Config` and `main`.
    """
    path = Path(name) if name.endswith(".py") else recipes().get(name)
    if path is None or not path.is_file():
        raise unknown("recipe", name, recipes())
    spec = importlib.util.spec_from_file_location(f"kerastl_recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and tyro look a module up by its name
    spec.loader.exec_module(module)
    if not hasattr(module, "Config") or not hasattr(module, "main"):
        raise OptionError(f"{path} is not a recipe", "a file that defines Config and main(config)",
                          "start from one: kerastl recipes --copy NAME")
    return module


def copy_recipe(name: str, folder: Path) -> dict[str, Any]:
    """Copy a recipe into a folder, to be changed there. Raises OptionError when it would overwrite a file."""
    if name not in recipes():
        raise unknown("recipe", name, recipes())
    target = folder / f"{name}.py"
    if target.exists():
        raise OptionError(f"{target} exists", "a place that is free", "move it away first")
    shutil.copyfile(recipes()[name], target)
    return {"copied": str(target)}
