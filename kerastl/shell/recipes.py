"""Recipes by name. In a checkout they are beside the package, in an installation inside it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import kerastl
from kerastl.errors import OptionError, unknown
from kerastl.files import read_text, write_atomically
from kerastl.shell.spell_out import spelled_out


def recipes_folder() -> Path:
    """The folder of the recipes: beside the package in a checkout, inside it when installed."""
    here = Path(kerastl.__file__).parent
    inside = here / "recipes"
    return inside if inside.is_dir() else here.parent / "recipes"


def recipes() -> dict[str, Path]:
    """The file of every recipe by its name."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.py")) if not path.stem.startswith("_")}


def load_recipe(name: str) -> ModuleType:
    """The module of a recipe: a bundled one by its name, or the user's own by the path of its file.

    Raises OptionError for an unknown name, or a file that does not define `Config` and `main`.
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
                          "start from a copy: kerastl recipes --copy NAME")
    return module


def copy_recipe(name: str, folder: Path) -> Path:
    """Copy a recipe into a folder, with its steps spelled out, to change it there. Returns the copy. Raises OptionError
    for an unknown recipe, or where it would overwrite a file."""
    if name not in recipes():
        raise unknown("recipe", name, recipes())
    target = folder / f"{name}.py"
    if target.exists():
        raise OptionError(f"{target} already exists", "", "move or delete it first")
    write_atomically(target, spelled_out(read_text(recipes()[name]), recipes()))
    return target
