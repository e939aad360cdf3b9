"""Runs a function from the shell: flags, messages, exit codes and `--json`. Nothing heavy is imported before the work.

Exit codes: 0 done; 1 a check failed; 2 bad usage or bad input; 130 stopped by Ctrl-C.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from kerastl.errors import KerastlError, OptionError
from kerastl.runtime import import_tensorflow_quietly
from kerastl.shell.checks import check_flags
from kerastl.shell.flags import RunConfig
from kerastl.shell.summary import run_summary

C = TypeVar("C")


def run(main: Callable[[C], Any], config: type[C], argv: list[str] | None = None,
        show: Callable[[Any], str] | None = None, prog: str | None = None) -> int:
    """Parse flags into a `config`, call `main`, print what it returns. Returns the exit code."""
    return finish(main, lambda: parse(config, argv, main.__module__, prog), show or run_summary)


def parse(config: type[C], argv: list[str] | None, module: str = "", prog: str | None = None) -> C:
    """Flags to a `config`; its line comments are the help. Exits with 2 on bad use, with 0 after help."""
    import tyro

    text = (sys.modules[module].__doc__ or "") if module in sys.modules else config.__doc__ or ""
    description = text.partition("\n")[0]
    return tyro.cli(config, args=argv, prog=prog, description=description, config=(tyro.conf.FlagCreatePairsOff,))


def finish(main: Callable[[C], Any], get: Callable[[], C], show: Callable[[Any], str], heavy: bool = True) -> int:
    """Call `main` with what `get` gives; messages and exit codes as the module says. `heavy` work uses TensorFlow."""
    try:
        config = get()
        if isinstance(config, RunConfig):
            check_flags(config)
        as_json = bool(getattr(config, "json", False))
        with stdout_to_stderr() as stdout:
            if heavy:
                import_tensorflow_quietly()
            result = main(config)
            document = result if isinstance(result, dict) else result.to_dict()
            print(json.dumps(document, ensure_ascii=False) if as_json else show(result), file=stdout, flush=True)
        breaches = document.get("breaches") or []
        if breaches:
            print(f"error: {', '.join(breaches)} broke the bound of the parity gate and was not written",
                  file=sys.stderr)
        return 1 if breaches or document.get("wrong") or getattr(result, "failed", False) else 0
    except KerastlError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; what was computed is kept in the cache, no model was written", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone
        return 0
    except Exception as error:
        said = _of_the_system(error)
        if said is None:
            raise
        return _fail(said, 2)


def _of_the_system(error: Exception) -> str | None:
    """What to say of memory, a disk or a path that does not play along; None for any other error."""
    number, place = getattr(error, "errno", None), getattr(error, "filename", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):  # TensorFlow and HDF5 say so
        return (f"no space left on disk ({place or 'while writing'})\n  wanted: room for the model and the feature "
                "cache\n  do: free some, or give --out and --cache-dir on another disk")
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, which is not imported here
        return (f"memory ran out: {' '.join(str(error).split())[:160]}\n  wanted: memory for the weights and a batch"
                "\n  do: give a smaller --batch-size, or choose a smaller backbone")
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return (f"{os.strerror(number)}: {place}\n  wanted: leave to read or write it\n  do: change its permissions, "
                "or choose another place")
    if number == errno.ENAMETOOLONG:
        return f"a name is too long: {str(place)[:60]}...\n  wanted: a path that the disk can hold\n  do: shorten it"
    return None


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


@contextmanager
def stdout_to_stderr() -> Iterator[TextIO]:
    """Within, whatever prints to standard output (libraries do) goes to standard error; yields the real one."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # captured, as in tests: there is no file to turn
        real, sys.stdout = sys.stdout, sys.stderr
        try:
            yield real
        finally:
            sys.stdout = real
        return
    kept = os.dup(number)
    with os.fdopen(kept, "w", encoding="utf-8", errors="replace") as real:
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield real
            real.flush()
        finally:
            sys.stdout.flush()
            os.dup2(kept, number)


def check_path(path: str, option: str) -> Path:
    """A path whose folder exists, to write a file to. Raises OptionError where it does not."""
    found = Path(path)
    if not found.parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {found.parent}", "a path in a folder that exists",
                          "make the folder first")
    return found
