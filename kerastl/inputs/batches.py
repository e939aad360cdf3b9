"""Image files as batches of pixels, read and decoded ahead in threads. A few batches are in memory at a time."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from kerastl.files import prefetched, read_bytes
from kerastl.inputs.images import decoder
from kerastl.inputs.isolation import workers_for

Decoded = NDArray[np.uint8] | str
CHANGED = "changed after it was first read: run again once no other program writes to it"


def content_hash(data: bytes) -> str:
    """The id of a file's content, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decoder_for(size: int, accept_truncated: bool = False, files: int = 1) -> Callable[[bytes], Decoded]:
    """What decodes the images of a pass over so many files: the decoder in this process, or workers (see
    `isolation.isolated`)."""
    workers = workers_for(files)
    if workers is None:
        return decoder(size, accept_truncated)
    return lambda data: workers.decode(data, size, accept_truncated)


def decode_file(path: str, size: int, content_id: str = "", accept_truncated: bool = False, *, files: int = 1
                ) -> Decoded:
    """The pixels of a file, [size, size, 3] uint8, or the reason why it cannot be decoded.

    content_id: the id under which the result will be stored. The bytes that are decoded are those that are hashed here;
    a file with another id is read once more, in case it was being written, and then refused. accept_truncated: see
    `images.decode`. files: how many files the pass has that this is a part of.
    """
    try:
        data = read_bytes(path)
        if content_id and content_hash(data) != content_id and content_hash(data := read_bytes(path)) != content_id:
            return CHANGED
    except OSError as error:
        return str(error.strerror)
    return decoder_for(size, accept_truncated, files)(data)


def pixel_batches(paths: Sequence[str], size: int, batch_size: int, refused: dict[int, str],
                  progress: Callable[[int], object] = lambda n: None, *, ids: Sequence[str] = (),
                  accept_truncated: bool = False) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Batches of indices into `paths` with their pixels, [batch, size, size, 3] uint8, in order.

    Files that cannot be decoded are added to `refused`: their index, with the reason. progress: called with 1 for each
    file. ids: the content hashes of the files when they were first read; a file that has changed since is refused.
    accept_truncated: see `images.decode`.
    """
    places: list[int] = []
    pixels: list[NDArray[np.uint8]] = []
    ahead: deque[tuple[int, Future[Decoded]]] = deque()
    todo = iter(enumerate(zip(prefetched(paths), ids or [""] * len(paths), strict=True)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            while True:
                while len(ahead) < 3 * batch_size and (following := next(todo, None)) is not None:
                    place, (path, content_id) = following
                    ahead.append((place, pool.submit(decode_file, path, size, content_id, accept_truncated,
                                                      files=len(paths))))
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
