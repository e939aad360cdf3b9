"""Runs a function from the shell: messages, exit codes and `--json`. Nothing heavy is imported before the work.

Exit codes: 0 done; 1 a check failed; 2 bad usage or bad input; 130, 143 and 129 stopped by SIGINT (Ctrl-C), SIGTERM and
SIGHUP.
"""

import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from typing import Any, TextIO, TypeVar

from kerastl.display import visible, visible_json
from kerastl.errors import KerastlError, ModelError
from kerastl.files import own_temporary_files
from kerastl.runtime import import_tensorflow_quietly
from kerastl.shell.checks import check_flags, check_paths
from kerastl.shell.flags import RunConfig
from kerastl.shell.parsing import parse, with_flags
from kerastl.shell.private import OF_THE_SHELL, private_or
from kerastl.shell.system_errors import damaged_model, system_error

__all__ = ["as_main", "finish", "parse", "run"]

C = TypeVar("C")
R = TypeVar("R")

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")  # signals that end the work; Windows has no SIGHUP
WATCH = 0.5  # seconds after which a signal is raised again, if its exception was lost


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end. It is raised where the work is, so that unfinished files are removed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


def run(main: Callable[[C], Any], config: type[C], argv: list[str] | None = None,
        show: Callable[[Any], str] | None = None, prog: str | None = None) -> int:
    """Parse flags into a `config`, call `main`, print what it returns. Returns the exit code."""
    return finish(private_or(main), lambda: parse(config, argv, config.__module__, prog), show or _run_summary)


def _run_summary(record: Any) -> str:
    from kerastl.shell.summary import run_summary  # here, because `--help` does not need NumPy

    return run_summary(record)


def as_main(pipeline: Callable[..., R]) -> Callable[[Any], R]:
    """A pipeline as the `main` of a recipe: it is called with the fields of a Config as arguments, but for those that
    the shell itself honours."""

    def main(config: Any) -> R:
        return pipeline(**{field.name: getattr(config, field.name) for field in fields(config)
                           if field.name not in OF_THE_SHELL})

    return main


def finish(main: Callable[[C], Any], get: Callable[[], C], show: Callable[[Any], str], heavy: bool = True,
           check: Callable[[C], None] | None = None) -> int:
    """Call `main` with what `get` returns, print its result, and return the exit code.

    A result is a dict, or has `to_dict()`. It may have `failed`, whether a check failed, and `failure`, the message
    then. heavy: whether TensorFlow is needed; it is imported after flags and paths were checked, or before that if the
    checks run code of the user's. check: raises an error for flags that cannot be used.
    """
    config: Any = None
    _replace_closed_streams()
    try:
        with stopped_by_signals():
            config = get()
            if heavy and _names_user_code(config):  # the checks run it, and it imports Keras
                import_tensorflow_quietly(_devices(config))
            if isinstance(config, RunConfig):
                check_flags(config)
            _isolated(config)
            if check is not None:
                check(config)
            check_paths(config)
            with stdout_to_stderr() as stdout:
                if heavy:
                    import_tensorflow_quietly(_devices(config))
                with own_temporary_files() if heavy else nullcontext(), _isolated(config):
                    result = main(config)
                document = result if isinstance(result, dict) else result.to_dict()
                as_json = bool(getattr(config, "json", False))
                shown = visible_json(json.dumps(document, ensure_ascii=False)) if as_json else \
                    visible(with_flags(show(result), config))
                print(shown, file=stdout, flush=True)
        if not getattr(result, "failed", False):
            return 0
        failure = getattr(result, "failure", "")
        return _fail(with_flags(failure, config), 1) if failure else 1
    except KerastlError as error:
        message = damaged_model(config, error) if isinstance(error, ModelError) else None
        return _fail(with_flags(message or str(error), config), error.exit_code)
    except KeyboardInterrupt as error:
        by = f" by {error}" if getattr(error, "number", signal.SIGINT) != signal.SIGINT else ""
        left = ("features computed so far are cached, no model was written" if isinstance(config, RunConfig) else
                "no file was left half-written")
        return _fail(f"stopped{by}; {left}", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the program that read our output has ended
        return 0
    except Exception as error:
        message = system_error(error) or damaged_model(config, error)
        if message is None:
            raise
        return _fail(with_flags(message, config), 2)


def _devices(config: Any) -> str:
    """Which GPUs the command uses, by its flag: they are chosen before TensorFlow starts."""
    return str(getattr(config, "devices", "auto"))


def _isolated(config: Any) -> AbstractContextManager[object]:
    """Where image files are decoded while a command runs, by its flag. Raises OptionError for a mode that cannot be."""
    mode = getattr(config, "isolate", None)
    if mode is None:
        return nullcontext()
    from kerastl.inputs.isolation import check_mode, isolated  # here, because `--help` does not need it

    check_mode(mode)
    return isolated(mode)


def _replace_closed_streams() -> None:
    """Let standard streams that were closed (`>&-`) read from and write to nowhere. Otherwise the next file that is
    opened gets their number, and what libraries print would be written into it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _names_user_code(config: Any) -> bool:
    """Whether a flag names a Python file of the user's, such as a head."""
    return any(isinstance(value, str) and ".py" in value for value in getattr(config, "__dict__", {}).values())


def _fail(message: str, code: int) -> int:
    print(visible(f"error: {message}"), file=sys.stderr, flush=True)
    return code


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP raise Stopped, except where they are ignored, as under nohup. Whatever the
    code that was interrupted makes of that exception, the block ends with Stopped: it is raised again where a library
    has swallowed it, or Python, in a destructor, and the work goes on."""
    stops: list[Stopped] = []
    watches: list[threading.Timer] = []
    due, ended = threading.Event(), threading.Event()
    report = sys.unraisablehook

    def stop(number: int, frame: object) -> None:
        asked = not due.is_set()  # by another process or a user, and not by a watch
        due.clear()
        if ended.is_set():
            return
        if not asked or not stops:
            watches.append(threading.Timer(WATCH, again, (number,)))
            watches[-1].start()
        if asked or sys.exc_info()[0] is None:  # otherwise an exception is on its way
            stops.append(Stopped(number))
            raise stops[-1]

    def again(number: int) -> None:
        due.set()
        signal.raise_signal(number)

    def unraisable(problem: Any) -> None:
        """Python prints what is raised in a destructor. Once a signal came, these are Stopped itself and errors of
        objects that it left half-built."""
        if not stops:
            report(problem)

    numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    before = {number: signal.getsignal(number) for number in numbers if in_main}
    sys.unraisablehook = unraisable
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    except BaseException as error:
        if not stops:
            raise
        _release(error)
        raise stops[0].with_traceback(None) from None
    finally:
        ended.set()
        for timer in watches:
            timer.cancel()
            timer.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = report


def _release(error: BaseException | None) -> None:
    """Drop what the frames of an exception hold, and of those before it, while the errors of destructors are hidden."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()


@contextmanager
def stdout_to_stderr() -> Iterator[TextIO]:
    """Within, whatever prints to standard output (libraries do) goes to standard error; yields the real one."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # captured, as in tests: there is no file to redirect
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
