"""What a server that loads new versions for weeks keeps in memory.

A graph is part of cycles of Python objects, which stay until Python looks for them, and the C library keeps freed
memory in pieces too small to return.
"""

import ctypes
import gc


def keep_imports() -> None:
    """Take the objects of imported packages, some 300,000, out of the search for cycles: without them it takes 10 ms
    instead of 200, in which no request is answered."""
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Free what versions held that were unloaded, and return it to the system where that is possible (Linux)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
