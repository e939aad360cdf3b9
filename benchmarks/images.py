"""Images for measuring: noise of all scales with the spectrum of photographs, as JPEG files."""

from pathlib import Path

import numpy as np
from PIL import Image

SEEDS = (0, 1, 2, 3, 4, 5, 6, 7)


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """An image whose amplitudes fall with frequency as in photographs, so that a JPEG of it has a usual size."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    cells = 4
    while cells < width:
        noise = generator.integers(0, 256, (max(1, cells * height // width), cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float64) - 127.5) * 4 / cells
        cells *= 4
    return Image.fromarray(np.clip(total + 127.5, 0, 255).astype(np.uint8))


def write(folder: Path, count: int, width: int, height: int) -> list[str]:
    """`count` JPEG files of quality 90. A few images, each shifted anew, so that no two files are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [np.asarray(photograph(width, height, seed)) for seed in SEEDS[:min(count, len(SEEDS))]]
    paths = []
    for i in range(count):
        path = folder / f"{i:06d}.jpg"
        down, right = divmod(i // len(originals) + 1, width)
        moved = np.roll(originals[i % len(originals)], (down, right), axis=(0, 1))
        Image.fromarray(moved).save(path, quality=90)
        paths.append(str(path))
    return paths
