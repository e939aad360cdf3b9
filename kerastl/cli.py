"""The command `kerastl`: which verb, and nothing more. Light: a verb's own imports happen when it runs."""

import importlib
import sys

VERBS = {  # verb: its module in kerastl.verbs, and a line of help
    "run": ("", "run a recipe: train, judge and export a model"),
    "predict": ("predict", "answer for files, folders and tables with an exported model"),
    "evaluate": ("evaluate", "judge an exported model on new labelled data"),
    "check": ("look", "look a source over: corrupt files, duplicates, leaks, imbalance, odd labels"),
    "features": ("features", "write a backbone's features of a source to a file"),
    "compare": ("compare", "compare backbones, heads and unfreezing on the same rows; recommends the simplest"),
    "export": ("export", "write a new version of a model with other TFLite files"),
    "verify": ("verify", "prove an exported model whole, and its formats equal, again"),
    "doctor": ("doctor", "find and name what is commonly wrong in a model, or in what a recipe builds"),
    "backbones": ("listing", "list the backbones: size, input, licence, where weights come from"),
    "heads": ("listing", "list the heads"),
    "recipes": ("listing", "list the recipes, or copy one here to change it"),
    "cache": ("listing", "show or clear what is kept on disk"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, 1, 2 or 130."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from kerastl import __version__

        print(f"kerastl {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        from kerastl.errors import unknown

        print(f"error: {str(unknown('verb', verb, VERBS)).replace('kerastl verbs', 'kerastl --help')}", file=sys.stderr)
        return 2
    return _run(rest) if verb == "run" else _verb(verb, rest)


def usage() -> str:
    """What `kerastl --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name.ljust(width)}  {text}" for name, (_, text) in VERBS.items())
    more = "kerastl VERB --help tells a verb's flags; kerastl run RECIPE --help a recipe's."
    return f"usage: kerastl VERB ...\n\n{verbs}\n\n{more}"


def _verb(verb: str, argv: list[str]) -> int:
    from kerastl.shell import process

    home = VERBS[verb][0]
    module = importlib.import_module(f"kerastl.verbs.{home}")
    names = ("Config", "run", "show") if hasattr(module, "Config") else (f"{verb.capitalize()}Config", verb,
                                                                         f"show_{verb}")
    config, work, show = (getattr(module, name) for name in names)
    return process.finish(work, lambda: process.parse(config, argv, prog=f"kerastl {verb}"), show, 
                          heavy=home != "listing")


def _run(argv: list[str]) -> int:
    from kerastl.errors import KerastlError
    from kerastl.shell import process
    from kerastl.shell.recipes import load_recipe, recipes

    if not argv or argv[0].startswith("-"):
        names = "\n".join(f"  {name}" for name in recipes())
        print(f"usage: kerastl run RECIPE --data SOURCE --name NAME ...\n\n{names}")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    try:
        recipe = load_recipe(argv[0])
    except KerastlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    show = getattr(recipe, "show", None)  # a recipe whose record is of another kind says how it is printed
    return process.run(recipe.main, recipe.Config, argv[1:], show, prog=f"kerastl run {argv[0]}")


if __name__ == "__main__":
    raise SystemExit(main())
