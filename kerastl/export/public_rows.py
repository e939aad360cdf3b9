"""Rows that are made up, for an export that may not look at the data: artifacts are compared on them, and TF Serving's
first request is one of them."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.examples import Examples
from kerastl.data.spool import digest
from kerastl.files import read_bytes
from kerastl.inputs import Input
from kerastl.modality import Modality

ROWS = 64
SOURCE = "made-up rows"


@contextmanager
def public_rows(source: Input, modality: Modality, classes: tuple[str, ...]) -> Iterator[Examples]:
    """Within, ROWS examples for an input, always the same. Their labels mean nothing."""
    with tempfile.TemporaryDirectory(prefix="kerastl-public-") as folder:
        items = tuple(modality.load(modality.input_module, "public_items")(source, Path(folder), ROWS))
        ids = tuple(_content_hash(item, modality.in_files) for item in items)
        yield Examples(modality, SOURCE, items, tuple(f"row {number}" for number in range(len(items))), ids, ids,
                       ("",) * len(items), classes, np.arange(len(items), dtype=np.int64) % len(classes),
                       min_per_class=0)


def _content_hash(item: Any, in_file: bool) -> str:
    content = hashlib.blake2b(read_bytes(item), digest_size=16).digest() if in_file else digest(item)
    return content.hex()
