"""A Python file of the user's own, run as a module: `--head ./my_head.py`, `--backbone ./my_backbone.py`."""

import hashlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from kerastl.errors import OptionError
from kerastl.files import read_bytes


def is_user_file(name: str) -> bool:
    """Whether a name stands for a file of the user's and not for one of ours: it ends in `.py`."""
    return name.endswith(".py")


def load_user_module(path: str | Path, argument: str) -> tuple[ModuleType, str]:
    """Run a Python file and return the module and the SHA-256 of the file's content, 64 hexadecimal digits.

    The same content at the same path runs once in a process. What the file imports from other files of the user's is
    not part of the hash. argument: what the path was given as (`head`, `backbone`), for the messages. Raises
    OptionError for a file that is not there or cannot be run; the exception of the user's code is its cause.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise OptionError(f"`{argument}` is {str(path)!r}, but there is no such file", "a Python file",
                          "check the path; it is relative to the current directory")
    content = read_bytes(file)
    digest = hashlib.sha256(content).hexdigest()
    name = f"kerastl_user_{file.stem}_{hashlib.sha256(str(file).encode() + content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name], digest
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses and Keras' serialisation look a class's module up here
    try:
        exec(compile(content, str(file), "exec"), module.__dict__)  # the bytes that were hashed, and no others
    except Exception as error:
        del sys.modules[name]
        raise OptionError(f"`{argument}` is {str(path)!r}, which cannot be run: {_at(file, error)}",
                          "a file that runs without errors", "run it with python to see the whole traceback") from error
    return module, digest


def _at(file: Path, error: Exception) -> str:
    """The exception in a line, with the line of the user's file that it comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {error}"
