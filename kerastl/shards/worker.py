"""What a worker does: it loads the job's network once, then computes shards and writes their files.

`main` is a worker process. It reads a shard a line on standard input, in JSON, and writes a reply a line on standard
output. When its input ends, since the process that started it has, it ends at once.
"""

import importlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kerastl import errors
from kerastl.errors import KerastlError, OptionError
from kerastl.files import is_file, read_bytes
from kerastl.shards.store import JOB, Part, write_part

Compute = Callable[[Mapping[str, Any]], Part]  # the task of a shard -> what was computed
Reply = dict[str, Any]
VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
# Of a job: what makes its `Compute`, as MODULE:FUNCTION; the working folder; a file of the data, or None; threads.
WORKER, CWD, DATA, THREADS = "worker", "cwd", "sample", "threads"


def environment(threads: int) -> dict[str, str]:
    """The variables that TensorFlow reads when it is imported: how many threads it starts, and that it takes only as
    much memory of a GPU as it needs."""
    return {**dict.fromkeys(VARIABLES, str(threads)), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def load_job(folder: Path) -> Compute:
    """What computes the shards of a job. Its function is called with the folder and the job. Raises OptionError where
    the folder, or the data, cannot be seen from this machine."""
    node, description = os.uname().nodename, folder / JOB
    if not description.is_file():
        raise OptionError(f"the machine {node} has no file {description}", "a cache that every machine of the cluster "
                          "sees at the same path", "set `cache_dir` to a folder on a shared file system")
    job = json.loads(read_bytes(folder / JOB))
    try:
        os.chdir(job[CWD])  # paths may be relative
    except OSError as error:
        raise OptionError(f"the machine {node} has no folder {job[CWD]}", "the data at the same path on every machine",
                          "use a shared file system, and run in a folder on it") from error
    if job.get(DATA) and not is_file(job[DATA]):
        raise OptionError(f"the machine {node} has no file {job[DATA]}", "the data at the same path on every machine",
                          "use a shared file system")
    module, _, name = job[WORKER].partition(":")
    made: Compute = getattr(importlib.import_module(module), name)(folder, job)
    return made


def reply_to(folder: Path, compute: Compute, name: str, task: Mapping[str, Any]) -> Reply:
    """Compute a shard unless its file exists; {} once it does, else the error."""
    try:
        if not (folder / name).exists():
            write_part(folder / name, compute(task))
    except Exception as error:  # of any type: it is raised again where the work is given out
        return described(error)
    return {}


def described(error: Exception) -> Reply:
    """An error as JSON holds it, for `raise_error`."""
    if isinstance(error, KerastlError):
        kind = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
        return {"error": kind, "parts": [error.got, error.expected, error.hint]}
    if isinstance(error, OSError) and error.errno:
        return {"error": "OSError", "parts": [error.errno, error.strerror, str(error.filename or "")]}
    return {"error": "", "parts": ["".join(traceback.format_exception(error))]}


def raise_error(reply: Reply) -> None:
    """Raise the error of a reply, if it is one."""
    if "error" not in reply:
        return
    kind, parts = reply["error"], reply["parts"]
    if kind == "OSError":
        raise OSError(*parts)
    if kind:
        raise getattr(errors, kind)(*parts)
    raise RuntimeError(f"a worker failed:\n{parts[0]}")


def main(place: str) -> None:
    """Serve the shards that standard input names until it ends. place: the folder of the job."""
    folder = Path(place)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not a reply
    lines = queue.SimpleQueue[str]()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()

    def answer(reply: Reply) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        compute = load_job(folder)
    except Exception as error:  # of any type: as above
        answer(described(error))
        return
    answer({})
    while True:
        request = json.loads(lines.get())
        answer(reply_to(folder, compute, request["name"], request["task"]))
