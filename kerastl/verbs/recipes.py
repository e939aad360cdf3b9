"""List the recipes, or copy one into the current folder to change it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.shell.listing import RecipeInfo, list_recipes
from kerastl.shell.recipes import copy_recipe
from kerastl.shell.terminal import table

LIGHT = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """List the recipes, or copy one into the current folder to change it."""

    copy: str | None = None  # write this recipe into the current folder (default: list all)
    json: bool = False  # print the results as one JSON document


@dataclass(frozen=True)
class Recipes:
    """All recipes, or the path of a copy."""

    recipes: tuple[RecipeInfo, ...] = ()
    copied: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document that --json prints."""
        if self.copied:
            return {"copied": str(self.copied)}
        return {"recipes": [recipe.to_dict() for recipe in self.recipes]}


def run(config: Config) -> Recipes:
    """List the recipes, or copy one into the current folder."""
    return Recipes(copied=copy_recipe(config.copy, Path("."))) if config.copy else Recipes(list_recipes())


def show(result: Recipes) -> str:
    """A table, or where the copy is."""
    if result.copied:
        return f"copied to {result.copied}; its options: python {result.copied} --help"
    return table([("recipe", "what it does"), *((recipe.name, recipe.summary) for recipe in result.recipes)])
