"""Image files as batches of pixels, read and decoded ahead in threads. A few batches are in memory at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from kerastl.files import open_file
from kerastl.inputs.images import decoder

Decoded = NDArray[np.uint8] | str


def decode_file(path: str, size: int) -> Decoded:
    """The pixels of a file, [size, size, 3] uint8, or the reason why it cannot be decoded."""
    try:
        with open_file(path) as file:
            return decoder(size)(file.read())
    except OSError as error:
        return str(error.strerror)


def pixel_batches(paths: Sequence[str], size: int, batch_size: int, refused: dict[int, str],
                  progress: Callable[[int], object] = lambda n: None) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Batches of indices into `paths` with their pixels, [batch, size, size, 3] uint8, in order.

    Files that cannot be decoded are added to `refused`: their index, with the reason. progress: called with 1 for each
    file.
    """
    decoder(size)  # traced once, before the threads use it
    places: list[int] = []
    pixels: list[NDArray[np.uint8]] = []
    ahead: deque[tuple[int, Future[Decoded]]] = deque()
    todo = iter(enumerate(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            while True:
                while len(ahead) < 3 * batch_size and (following := next(todo, None)) is not None:
                    ahead.append((following[0], pool.submit(decode_file, following[1], size)))
                if not ahead:
                    break
                place, future = ahead.popleft()
                result = future.result()
                progress(1)
                if isinstance(result, str):
                    refused[place] = result
                    continue
                places.append(place)
                pixels.append(result)
                if len(places) == batch_size:
                    yield places, np.stack(pixels)
                    places, pixels = [], []
            if places:
                yield places, np.stack(pixels)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
