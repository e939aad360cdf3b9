"""List the recipes, or copy one into the current folder to change it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.shell.listing import Listing, RecipeInfo, list_recipes
from kerastl.shell.recipes import copy_recipe
from kerastl.shell.terminal import table

LIGHT = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """List the recipes, or copy one into the current folder to change it."""

    copy: str | None = None  # write this recipe into the current folder (default: list all)
    json: bool = False  # print the results as one JSON document


@dataclass(frozen=True)
class Copied:
    """Where the copy of a recipe is."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        """The document that --json prints."""
        return {"copied": str(self.path)}


def run(config: Config) -> Listing[RecipeInfo] | Copied:
    """List the recipes, or copy one into the current folder."""
    return Copied(copy_recipe(config.copy, Path("."))) if config.copy else list_recipes()


def show(result: Listing[RecipeInfo] | Copied) -> str:
    """A table, or where the copy is."""
    if isinstance(result, Copied):
        return f"copied to {result.path}; to see its options: python {result.path} --help"
    return table([("recipe", "what it does"), *((recipe.name, recipe.summary) for recipe in result.items)])
