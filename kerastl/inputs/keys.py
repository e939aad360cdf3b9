"""The keys under which the features of images are stored: the id of the content, unless the decoder has changed since
version 3 for a file of its format. So only the features of these files are computed again."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kerastl.files import open_file

DECODER = 4  # which puts transparent GIF and BMP on white, and honours the orientation of PNG and WebP
HEAD = 72


def keys_of(ids: Sequence[str], paths: Sequence[str]) -> Sequence[str]:
    """The key of each file: its id, or a hash of its id and of the decoder's version."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        affected = list(pool.map(is_affected, paths, chunksize=64))
    if not any(affected):
        return ids
    return [hashlib.blake2b(f"{content} decoder {DECODER}".encode(), digest_size=16).hexdigest() if changed else content
            for content, changed in zip(ids, affected, strict=True)]


def is_affected(path: str) -> bool:
    """Whether decoder 4 may give other pixels than decoder 3: for any GIF, a PNG or WebP with EXIF, a BMP with alpha. A
    file that cannot be read is not; whoever decodes it says why."""
    try:
        with open_file(path) as file:
            head: bytes = file.read(HEAD)
            if head.startswith(b"\x89PNG"):
                return b"eXIf" in head + file.read()
    except OSError:
        return False
    webp_with_exif = head[8:16] == b"WEBPVP8X" and head[20:21] > b"" and bool(head[20] & 8)
    bmp_with_alpha = head[:2] == b"BM" and head[66:70] == b"\0\0\0\xff"
    return head[:4] == b"GIF8" or webp_with_exif or bmp_with_alpha
