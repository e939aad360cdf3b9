"""The keys under which the features of images are stored: the id of the content, unless the decoder has changed since
version 3 for a file of its format. So only the features of these files are computed again."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import IO

from kerastl.compact import Hashes
from kerastl.files import open_file
from kerastl.inputs.orientation import MOST_SEGMENTS

DECODER = 4  # which puts transparent GIF and BMP on white, and honours the orientation of PNG and WebP
MARK = f"decoder {DECODER}"
TRUNCATED = f"decoder {DECODER}, truncated files accepted"
HEAD = 72
AT_A_TIME = 4096  # files that wait to be looked at: each takes memory


def keys_of(ids: Sequence[str], paths: Sequence[str], accept_truncated: bool = False) -> Sequence[str]:
    """The key of each file: its id, or a hash of its id and of how it is decoded. accept_truncated: whether a JPEG that
    ends early is decoded; such a file has a key of its own, so that it is refused where it is not."""
    marks: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), AT_A_TIME):
            some = pool.map(lambda path: _mark(path, accept_truncated), paths[start:start + AT_A_TIME])
            marks |= {start + place: mark for place, mark in enumerate(some) if mark}
    if not marks:
        return ids
    return Hashes.of(ids).replaced([*marks], (f"{ids[place]} {mark}" for place, mark in marks.items()))


def _mark(path: str, accept_truncated: bool) -> str:
    return TRUNCATED if accept_truncated and ends_early(path) else MARK if is_affected(path) else ""


def ends_early(path: str) -> bool:
    """Whether a file is a JPEG that does not end in its end marker: one that is truncated, or has something behind
    it."""
    try:
        with open_file(path) as file:
            if file.read(3) != b"\xff\xd8\xff":
                return False
            file.seek(-2, os.SEEK_END)
            return bool(file.read() != b"\xff\xd9")
    except OSError:
        return False


def _has_fill_bytes(file: IO[bytes]) -> bool:
    """Whether something lies between the segments of a JPEG, before its orientation or first scan."""
    place = 2
    for _ in range(MOST_SEGMENTS):
        file.seek(place)
        start = file.read(10)
        if len(start) < 4 or start[:2] in (b"\xff\xda", b"\xff\xd9") or start[:2] + start[4:] == b"\xff\xe1Exif\0\0":
            return False
        if start[0] != 0xFF or not 0xC0 <= start[1] < 0xFF or 0xD0 <= start[1] <= 0xD8:
            return True
        place += 2 + max(2, int.from_bytes(start[2:4], "big"))
    return False


def is_affected(image: str | bytes) -> bool:
    """Whether decoder 4 may give other pixels than decoder 3: for any GIF, a PNG or WebP with EXIF, a BMP with alpha, a
    JPEG with fill bytes between its segments. image: the path of a file, or its content. A file that cannot be read is
    not; whoever decodes it says why."""
    try:
        with BytesIO(image) if isinstance(image, bytes) else open_file(image) as file:
            head: bytes = file.read(HEAD)
            if head.startswith(b"\xff\xd8\xff"):
                return _has_fill_bytes(file)
            if head.startswith(b"\x89PNG"):
                return b"eXIf" in head + file.read()
    except OSError:
        return False
    webp_with_exif = head[8:16] == b"WEBPVP8X" and head[20:21] > b"" and bool(head[20] & 8)
    bmp_with_alpha = head[:2] == b"BM" and head[66:70] == b"\0\0\0\xff"
    return head[:4] == b"GIF8" or webp_with_exif or bmp_with_alpha
