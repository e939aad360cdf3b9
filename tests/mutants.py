"""Damaged files, the same for the same seed: for tests, a hundred; for `soak.py`, thousands."""

import random
import re
from collections.abc import Callable, Iterator

from image_files import after_segments, exif, jpeg, made, refused, webp_canvas

# What decoders say to programmers. A reason is for somebody who has the file and not the source.
SLANG = re.compile(r"::|\bOp\b|\[\[|\{\{|InvalidArgument|Status|[tT]ensor|assert|node |/job:|0x|libpng|zlib|\bCRC\b|"
                   r"Uncompress|Failed|Invalid|errno|null|buffer|[Cc]hannels|header size|<|Error\b")


def seeds() -> dict[str, bytes]:
    """Small images of every kind, good ones and refused ones, by name."""
    good, bad = made(), {name: data for name, (data, _) in refused().items() if len(data) > 8}
    return {**good, **bad, **{f"jpeg turned {i}": jpeg(exif=exif(i, i % 2 == 0)) for i in range(2, 9)},
            "jpeg of many comments": after_segments(jpeg(), 20, 50),
            "webp canvas": webp_canvas(good["webp lossless"], 0x10)}


def flipped(data: bytearray, chance: random.Random) -> None:
    """Some bits are others, half the time near the beginning, where the headers are."""
    for _ in range(chance.randint(1, 8)):
        end = len(data) if chance.random() < 0.5 else min(64, len(data))
        data[chance.randrange(end)] ^= 1 << chance.randrange(8)


def truncated(data: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del data[chance.randrange(len(data)):]


def zeroed(data: bytearray, chance: random.Random) -> None:
    """A part is zeros, as in a file with a hole."""
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.randint(1, 200))
    data[start:end] = bytes(end - start)


def swapped(data: bytearray, chance: random.Random) -> None:
    """Two parts have changed places: chunks, if it has some."""
    marks = [match.start() for match in re.finditer(rb"(?=....(IDAT|PLTE|tRNS|IHDR|IEND|VP8 |VP8L|ALPH|EXIF)|\xff[\xc0"
                                                    rb"-\xfe]|\x2c|\x21\xf9)", data, re.S)]
    places = sorted(chance.sample(marks, 3)) if len(marks) >= 3 else sorted(
        chance.randrange(len(data)) for _ in range(3))
    data[places[0]:places[2]] = data[places[1]:places[2]] + data[places[0]:places[1]]


def doubled(data: bytearray, chance: random.Random) -> None:
    """A part is there twice."""
    start = chance.randrange(len(data))
    data[start:start] = data[start:start + chance.randint(1, 300)]


def grown(data: bytearray, chance: random.Random) -> None:
    """Bytes of the header are the largest there are, as in a file that announces a size that it does not have."""
    start = chance.randrange(min(64, len(data)))
    data[start:start + 2] = b"\xff\xff"


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flipped, truncated, zeroed, swapped, doubled, grown)


def image_mutants(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many damaged images, each with its name: that of the image and of the damage."""
    chance, images = random.Random(seed), seeds()
    names = sorted(images)
    for number in range(count):
        name, mutate = names[number % len(names)], chance.choice(MUTATIONS)
        data = bytearray(images[name])
        mutate(data, chance)
        yield f"{number}, {name}, {mutate.__name__}", bytes(data)
