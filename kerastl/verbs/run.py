"""Run a recipe: train, evaluate and export a model."""

import sys

from kerastl.errors import KerastlError
from kerastl.shell import process
from kerastl.shell.recipes import load_recipe, recipes


def main(argv: list[str]) -> int:
    """Run the recipe named by the first argument, with the flags after it. Returns the exit code."""
    if not argv or argv[0].startswith("-"):
        names = "\n".join(f"  {name}" for name in recipes())
        print(f"usage: kerastl run RECIPE --data SOURCE --name NAME ...\n\n{names}")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    try:
        recipe = load_recipe(argv[0])
    except KerastlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    show = getattr(recipe, "show", None)  # a recipe with another type of result defines how to print it
    return process.run(recipe.main, recipe.Config, argv[1:], show, prog=f"kerastl run {argv[0]}")
