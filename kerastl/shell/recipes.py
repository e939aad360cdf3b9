"""Recipes by name. In a checkout they are beside the package, in an installation inside it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import kerastl
from kerastl.errors import ModelError, OptionError, unknown
from kerastl.files import file_sha256, read_text, write_atomically
from kerastl.shell.spell_out import spelled_out
from kerastl.user_code import is_user_file


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
    path = Path(name) if is_user_file(name) else recipes().get(name)
    if path is None:
        raise unknown("recipe", name, recipes(), "kerastl recipes")
    if not path.is_file():
        hint = f"without the ending: {path.stem}" if path.stem in recipes() else \
            "check the path; it is relative to the current directory"
        raise OptionError(f"no such recipe file: {name}", "a Python file, or the name of a recipe", hint)
    spec = importlib.util.spec_from_file_location(f"kerastl_recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and tyro look a module up by its name
    vars(module)["__sha256__"] = file_sha256(path)  # of what runs, for the record: the file may change meanwhile
    spec.loader.exec_module(module)
    if not hasattr(module, "Config") or not hasattr(module, "main"):
        raise OptionError(f"{path} is not a recipe", "a file that defines Config and main(config)",
                          "start from a copy: kerastl recipes --copy NAME")
    return module


def is_recipe(name: str) -> bool:
    """Whether a name is that of a recipe, or of a Python file, which may be one."""
    return is_user_file(name) or name in recipes()


def no_such_model_or_recipe(name: str) -> ModelError:
    """The error for a name that is neither the folder of a model nor a recipe, with the closest recipe."""
    listed = unknown("recipe", name, recipes(), "kerastl recipes")
    return ModelError(f"no such model or recipe: {name}", "saved_models/NAME, saved_models/NAME/VERSION, or a recipe: "
                      f"{listed.expected}", listed.hint)


def copy_recipe(name: str, folder: Path) -> Path:
    """Copy a recipe into a folder, with its steps spelled out, to change it there. Returns the copy. Raises OptionError
    for an unknown recipe, or where it would overwrite a file."""
    if name not in recipes():
        raise unknown("recipe", name, recipes(), "kerastl recipes")
    target = folder / f"{name}.py"
    if target.exists():
        raise OptionError(f"{target} already exists", "", "move or delete it first")
    source = spelled_out(read_text(recipes()[name]), recipes())
    write_atomically(target, source.replace(f"recipes/{name}.py", str(target)))  # in the command of the docstring
    return target
