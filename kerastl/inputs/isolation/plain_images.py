"""Image files that the graph of an exported model can be given without danger: decoded by workers, and written as BMP
of the size that the network takes, which the graph decodes to the same pixels without resizing them."""

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from kerastl.inputs.isolation.workers import Workers
from kerastl.inputs.pixels import Pixels

_HEADER = struct.Struct("<2sIHHI IiiHHIIiiII")


def make_ready(source: Pixels, workers: Workers) -> None:
    """Start the workers, and let each decode an image that needs the graph, so that no client waits for that. Raises
    KerastlError where they cannot be started."""
    workers.start()
    plain_images([as_bmp(np.zeros((1, 1, 3), np.uint8))] * workers.count, source, workers)


def plain_images(contents: Sequence[bytes], source: Pixels, workers: Workers) -> list[bytes | str]:
    """For each file a plain one with the same pixels, or the reason why it cannot be decoded.

    A file that an older version's own graph decodes otherwise stays as it is, but only after a worker has decoded it.
    """
    older = frozenset(source.changed(contents))

    def plain(place: int) -> bytes | str:
        pixels = workers.decode(contents[place], source.size, source.accept_truncated)
        if isinstance(pixels, str):
            return pixels
        return contents[place] if place in older else as_bmp(pixels)

    if len(contents) == 1:
        return [plain(0)]
    with ThreadPoolExecutor(workers.count) as threads:
        return list(threads.map(plain, range(len(contents))))


def as_bmp(pixels: NDArray[np.uint8]) -> bytes:
    """A BMP of 24 bits without compression. pixels: [height, width, 3] uint8."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, -(-width * 3 // 4) * 4), np.uint8)  # each is padded to four bytes
    rows[:, :width * 3] = pixels[::-1, :, ::-1].reshape(height, width * 3)
    start = _HEADER.size
    return _HEADER.pack(b"BM", start + rows.size, 0, 0, start, 40, width, height, 1, 24, 0, rows.size, 2835, 2835, 0, 0
                        ) + rows.tobytes()
