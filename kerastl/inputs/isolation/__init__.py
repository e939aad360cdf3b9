"""Files are read in processes of their own, so that one that crashes its reader, or takes all the time or the memory
there is, costs an image its own row, a table one message, and nothing else.

`isolated` says whether, for a block of code; `batches.decoder_for` asks for images, `data.apart` for tables. The
processes are a `team`, which `forker` makes, with the limits of `limits`. `workers` are those that decode images.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from kerastl.errors import OptionError
from kerastl.inputs.isolation.limits import Limits

if TYPE_CHECKING:
    from kerastl.inputs.isolation.team import Team
    from kerastl.inputs.isolation.workers import Workers

MODES = ("auto", "on", "off")
FROM = 2000  # images of a pass from which `auto` decodes in workers: starting them takes as long as 500 images or so
NO_LIMITS = Limits()


@dataclass(eq=False)  # a block leaves as itself, not as one that is like it
class Isolation:
    """How the files of a block are read. from_files: the least number of images of a pass for which workers are used;
    0: they are used for everything."""

    from_files: int
    limits: Limits
    _teams: dict[str, "Team"] = field(default_factory=dict)  # by task

    @cached_property
    def workers(self) -> "Workers":
        """The processes; started when the first image is sent."""
        from kerastl.inputs.isolation.workers import Workers

        return Workers(self.limits)

    def team(self, task: str, verb: str, noun: str) -> "Team":
        """The workers of another task than images, see `Team`; started when the first is wanted."""
        from kerastl.inputs.isolation.team import Team

        return self._teams.setdefault(task, Team(task, verb, noun, self.limits))

    def close(self) -> None:
        """End the processes, if they were started."""
        if "workers" in vars(self):
            self.workers.close()
        for team in self._teams.values():
            team.close()


# The blocks that are entered, the innermost last. Of the process, not of a thread: tf.data and pools of threads decode
# in threads of their own, which do not see the context variables of the thread that started them.
_BLOCKS: list[Isolation | None] = []


def is_possible() -> bool:
    """Whether this system has what the workers need: Linux, and a Python that can be started again."""
    return sys.platform == "linux" and bool(sys.executable)


def check_mode(mode: str) -> None:
    """Raises OptionError for a mode that is unknown, or that this system cannot offer."""
    if mode not in MODES:
        raise OptionError(f"`isolate` is {mode!r}", f"one of {', '.join(MODES)}", "auto is the default")
    if mode == "on" and not is_possible():
        raise OptionError(f"`isolate` is on, but this system is {sys.platform}", "Linux",
                          "set `isolate` to auto or off, and decode only files that you trust")


@contextmanager
def isolated(mode: str = "on", *, limits: Limits = NO_LIMITS) -> Iterator[Isolation | None]:
    """Within, image files are decoded, and tables in Parquet and Excel read, as the mode says: `on`, each in a worker
    process with limits on its memory, time and files; `off`, in this process; `auto`, where this system has them, in
    workers in a pass over 2,000 images or more, and for tables from 16 MiB of Parquet or 2 MiB of Excel on. An image
    that crashes its worker is tried in one more, and then skipped with that reason; a table that does raises DataError.
    The processes are started when they are first needed, and end with the block.

    The pixels and records are the same either way. It applies to all threads of the process. limits: of each worker.
    Raises OptionError for an unknown mode, and for `on` where the system is not Linux.
    """
    check_mode(mode)
    used = mode == "on" or (mode == "auto" and is_possible())
    isolation = Isolation(0 if mode == "on" else FROM, limits) if used else None
    _BLOCKS.append(isolation)
    try:
        yield isolation
    finally:
        _BLOCKS.remove(isolation)
        if isolation is not None:
            isolation.close()


def workers_for(files: int) -> "Workers | None":
    """The workers that decode a pass over so many files; None where this process does it itself."""
    isolation = _BLOCKS[-1] if _BLOCKS else None
    return isolation.workers if isolation is not None and files >= isolation.from_files else None


def team_for(task: str, verb: str, noun: str, large: bool) -> "Team | None":
    """The workers of another task than images; None where this process does it itself. large: whether the work is much
    beside starting them, so that `auto` uses them."""
    isolation = _BLOCKS[-1] if _BLOCKS else None
    return isolation.team(task, verb, noun) if isolation is not None and (large or not isolation.from_files) else None
