"""The command `kerastl`: which verb, and nothing more. A verb is a file in kerastl/verbs, imported when it runs.

A verb's module has `Config`, the flags; `run(config)`, which returns a result; and `show(result)`, the text that is
printed. The first line of its docstring is its line of help. It may have `check(config)`, which raises an error for
flags that cannot be used, `words(argv)`, which prepares the words of the command line, and `LIGHT = True` where it does
not need TensorFlow. A module with `main(argv)` instead does all of that itself. The verb `label-next` is the file
`label_next.py`.
"""

import ast
import importlib
import sys
from pathlib import Path

from kerastl.files import read_text

FIRST = ("run", "predict", "evaluate")  # the verbs that help lists first


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, 1, 2, or 128 + the number of the signal that stopped it."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from kerastl import __version__

        print(f"kerastl {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in verbs():
        from kerastl.errors import unknown

        print(f"error: {unknown('verb', verb, verbs(), 'kerastl --help')}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"kerastl.verbs.{verbs()[verb].stem}")
    if hasattr(module, "main"):
        return int(module.main(rest))
    from kerastl.shell import process

    prepared = getattr(module, "words", list)
    return process.finish(module.run, lambda: process.parse(module.Config, prepared(rest), prog=f"kerastl {verb}"),
                          module.show, heavy=not getattr(module, "LIGHT", False), check=getattr(module, "check", None))


def verbs() -> dict[str, Path]:
    """The file of every verb by its name, in the order that help lists them. Imports none of them."""
    paths = {path.stem.replace("_", "-"): path for path in (Path(__file__).parent / "verbs").glob("[a-z]*.py")}
    return {name: paths[name] for name in dict.fromkeys((*FIRST, *sorted(paths)))}


def usage() -> str:
    """What `kerastl --help` prints."""
    width = max(map(len, verbs()))
    lines = "\n".join(f"  {name.ljust(width)}  {_summary(path)}" for name, path in verbs().items())
    return f"usage: kerastl VERB ...\n\n{lines}\n\nRun 'kerastl VERB --help' to list the options of a verb, and " \
           "'kerastl run RECIPE --help' those of a recipe."


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(read_text(path))) or ""
    return docstring.partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    raise SystemExit(main())
