"""How long fine-tuning will take, measured on its first steps and printed before it is too late to stop it."""

import time

MEASURED = 4  # steps that are timed; the one before them builds the graph, and is not
FORWARD = 1 / 3  # of a training step: the same batch forwards alone


class Estimate:
    """Called after each step of training. After a few of them, it prints once how long all will take.

    what: what trains, to start the sentence. steps: of all rounds. instead: what to do to avoid the time. batches: that
    are only predicted, besides."""

    def __init__(self, what: str, steps: int, instead: str, batches: int = 0) -> None:
        self.what, self.steps, self.instead, self.batches = what, steps, instead, batches
        self.done, self.start = 0, 0.0

    def __call__(self) -> None:
        """A step has been made."""
        self.done += 1
        if self.done == 1:
            self.start = time.perf_counter()
        if self.done == 1 + MEASURED:
            step = (time.perf_counter() - self.start) / MEASURED
            print(f"{self.what} will take {duration(step * (self.steps + FORWARD * self.batches))} ({self.steps:,} "
                  f"steps of {step:.2g} s); {self.instead}", flush=True)


def duration(seconds: float) -> str:
    """`about 40 s`, `about 5 min`, `about 2.5 h`."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
