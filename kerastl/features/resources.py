"""Memory and disk that a feature pass needs: printed before it starts, and refused when there is too little."""

import math
import shutil
from pathlib import Path

from kerastl.backbones import Backbone, text_memory
from kerastl.errors import OptionError
from kerastl.features.layout import row_shape
from kerastl.runtime import free_memory

GIB = 2**30


def fitting_batch(backbone: Backbone, batch_size: int) -> int:
    """How many texts to compute at a time; prints the memory that they need. For a large network, a batch of which may
    need gigabytes, that is as many as fit into memory. Raises OptionError when not even one text does."""
    free, requested = free_memory(), batch_size
    while backbone.large and batch_size > 1 and text_memory(backbone, batch_size) > free:
        batch_size //= 2
    needed = text_memory(backbone, batch_size)
    texts = f"{batch_size} text{'' if batch_size == 1 else 's'} of {backbone.input.record()['max_length']} tokens"
    need = f"{backbone.name} needs about {needed / GIB:.1f} GiB for {texts}; {free / GIB:.1f} GiB are free"
    if needed > free and backbone.large:
        raise OptionError(need, "memory for one text", "use a smaller `max_length`, or a `precision` with fewer bits")
    reduced = f" (batch size reduced from {requested})" if batch_size < requested else ""
    print(need + reduced + ("; use a smaller batch size or a smaller backbone" if needed > free else ""), flush=True)
    return batch_size


def check_disk(backbone: Backbone, rows: int, cache_dir: Path, limit: int) -> None:
    """Print the space that maps or token states need in the cache, which holds at most `limit` bytes. Raises
    OptionError when its disk has less."""
    shape = row_shape(backbone)
    needed, free = 2 * rows * math.prod(shape), shutil.disk_usage(cache_dir).free
    size = " x ".join(map(str, shape))
    need = (f"the cache needs {needed / GIB:.2f} GiB for {rows} x {size} features of {backbone.name}; "
            f"{free / GIB:.1f} GiB are free")
    if needed > free:
        raise OptionError(need, "enough disk space", "free some space, choose a `cache_dir` on another disk, or a head "
                          "that takes pooled features")
    evicted = (f"; since the cache is limited to {limit / GIB:.0f} GiB, they are removed after the run"
               if needed > limit else "")
    print(need + evicted, flush=True)
