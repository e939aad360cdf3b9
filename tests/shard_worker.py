"""A worker whose rows follow from their numbers, without TensorFlow; a test can kill it at any moment."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import DataError
from kerastl.runtime import Runtime
from kerastl.shards.give_out import start_job
from kerastl.shards.store import Part, Shard, digest_of, job_folder
from kerastl.shards.team import deliver
from kerastl.shell.process import stdout_to_stderr

ROWS = 10  # of a shard
BAD = 7  # each row whose number ends in this has no result


def worker(folder: Path, job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Part]:
    """What computes the shards: each row takes `seconds`."""
    with open(folder.parent / "started.log", "a") as log:
        log.write(f"{os.getpid()}\n")
    if job.get("broken"):
        raise DataError("a network that does not load")

    def compute(task: Mapping[str, Any]) -> Part:
        numbers = task["numbers"]
        with open(folder.parent / "computed.log", "a") as log:
            log.write(f"{numbers[0]}\n")
        time.sleep(job["seconds"] * len(numbers))
        if task.get("fatal") in numbers:
            print("a decoder crashed", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        good = [place for place, number in enumerate(numbers) if number % 10 != BAD]
        rows = np.array([[numbers[place], numbers[place] ** 2] for place in good], np.float32).reshape(-1, 2)
        return Part({"rows": rows}, good, {place: "bad" for place in range(len(numbers)) if place not in good})

    return compute


def shards(count: int, fatal: int | None = None) -> Iterator[Shard]:
    """So many shards of ten rows."""
    for number in range(count):
        numbers = [*range(number * ROWS, (number + 1) * ROWS)]
        yield Shard(number, number * ROWS, ROWS, {"numbers": numbers, "fatal": fatal}, digest_of(numbers))


def run(cache: Path, count: int, runtime: Runtime, seconds: float = 0.0, fatal: int | None = None,
        **more: Any) -> list[tuple[int, list[float] | str]]:
    """All rows in order: of each its number, and its values or its error."""
    delivered: list[tuple[int, list[float] | str]] = []
    with job_folder(cache, "job") as folder:
        team = start_job(folder, {"worker": f"{__name__}:worker", "seconds": seconds, **more}, runtime)
        for shard, part in deliver(folder, shards(count, fatal), team):
            values = dict(zip(part.places, part.arrays["rows"].tolist(), strict=True))
            delivered += [(shard.start + place, values.get(place, part.errors.get(place, "lost")))
                          for place in range(shard.rows)]
    return delivered


def expected(count: int) -> list[tuple[int, list[float] | str]]:
    """What `run` has to return."""
    return [(n, "bad" if n % 10 == BAD else [float(n), float(n * n)]) for n in range(count * ROWS)]


if __name__ == "__main__":  # CACHE SHARDS WORKERS RAY SECONDS: a process that a test kills
    import shard_worker  # by this name workers import it

    from kerastl.runtime import choose

    cache, count, workers, ray, seconds = sys.argv[1:]
    runtime = choose("float32", "off", engine="ray" if ray == "ray" else "tensorflow", workers=int(workers), gpu=False,
                     bfloat16_cpu=False)
    with stdout_to_stderr() as stdout:  # as in the command: Ray prints what it has to say of lost machines
        print(json.dumps(shard_worker.run(Path(cache), int(count), runtime, float(seconds))), file=stdout)
