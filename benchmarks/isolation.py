"""What it costs to decode images in worker processes instead of in this one."""

import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from benchmarks import images
from benchmarks.figure import Figure, at_most

COUNT, ROUNDS, SIZE, BATCH = 600, 5, 224, 32


def of_decoding() -> list[Figure]:
    """Processor time and seconds of decoding the same files, in turn, and seconds until the first image is decoded."""
    from kerastl.inputs.isolation import isolated

    with tempfile.TemporaryDirectory() as folder, isolated("on") as isolation:
        assert isolation is not None
        paths = images.write(Path(folder), COUNT, 500, 375)
        start = time.perf_counter()
        isolation.workers.decode(Path(paths[0]).read_bytes(), SIZE)
        first = time.perf_counter() - start
        took: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
        for number in range(ROUNDS + 1):
            for mode in took:
                with isolated("off") if mode == "off" else nullcontext():  # the block around it uses the workers
                    one = _timed(paths, isolation.workers.pids)
                if number:
                    took[mode].append(one)
    seconds, processor = ({mode: median(one[place] for one in rounds) for mode, rounds in took.items()}
                          for place in (0, 1))
    each = {mode: 1000 * value / COUNT for mode, value in processor.items()}
    return [
        at_most(f"decoding in workers over decoding in the process, processor time, JPEG 500 x 375 to {SIZE} "
                f"({each['on']:.2f} over {each['off']:.2f} core-ms each)", processor["on"] / processor["off"], 1.15),
        at_most(f"the same, seconds ({COUNT / seconds['on']:.0f} and {COUNT / seconds['off']:.0f} images a second)",
                seconds["on"] / seconds["off"], 1.15),
        Figure("seconds until the first image is decoded, once", f"{first:.1f} s")]


def _timed(paths: list[str], pids: list[int]) -> tuple[float, float]:
    """Seconds, and processor time of this process and the workers, of one pass."""
    from kerastl.inputs.batches import pixel_batches
    from kerastl.inputs.isolation.limits import processor_ticks

    def used() -> float:
        return time.process_time() + sum(map(processor_ticks, pids)) / os.sysconf("SC_CLK_TCK")

    start, before = time.perf_counter(), used()
    assert sum(len(places) for places, _ in pixel_batches(paths, SIZE, BATCH, {})) == len(paths)
    return time.perf_counter() - start, used() - before
