"""List the recipes, describe one, or copy one into the current folder to change it."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

from tyro.conf import Positional, arg

from kerastl.shell.listing import Listing, RecipeInfo, list_recipes, recipe_info
from kerastl.shell.recipes import copy_recipe
from kerastl.shell.terminal import table

LIGHT = True
WIDTH = 100


@dataclass(frozen=True)
class Config:
    """List the recipes, describe one, or copy one into the current folder to change it."""

    recipe: Annotated[Positional[str | None], arg(metavar="[RECIPE]")] = None  # describe one (default: list all)
    copy: str | None = None  # write this recipe into the current folder
    json: bool = False  # print the results as one JSON document


@dataclass(frozen=True)
class Copied:
    """Where the copy of a recipe is."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        """The document that --json prints."""
        return {"copied": str(self.path)}


def run(config: Config) -> Listing[RecipeInfo] | RecipeInfo | Copied:
    """List the recipes, describe one, or copy one into the current folder."""
    if config.copy:
        return Copied(copy_recipe(config.copy, Path(".")))
    return recipe_info(config.recipe) if config.recipe else list_recipes()


def show(result: Listing[RecipeInfo] | RecipeInfo | Copied) -> str:
    """A table, a description, or where the copy is."""
    if isinstance(result, RecipeInfo):
        rows = [("measured", result.measured), ("time", result.time), ("run it", f"kerastl run {result.name} --help"),
                ("change it", f"kerastl recipes --copy {result.name}")]
        lines = [wrap(f"{name:<9}  {text}", WIDTH, subsequent_indent=" " * 11) for name, text in rows if text]
        return "\n".join([result.summary, "", *(line for part in lines for line in part)])
    if isinstance(result, Copied):
        return f"copied to {result.path}; to see its options: python {result.path} --help"
    return table([("recipe", "what it does"), *((recipe.name, recipe.summary) for recipe in result.items)])
