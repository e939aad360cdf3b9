"""Images of clients: decoded by worker processes, before the graph of the model sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.inputs import restored
from kerastl.inputs.isolation.plain_images import make_ready, plain_images
from kerastl.inputs.isolation.workers import Workers
from kerastl.inputs.pixels import Pixels
from kerastl.server.bodies import Arrays
from kerastl.server.signatures import Signature
from kerastl.versions.record import RunRecord


@dataclass(frozen=True)
class Screened:
    """arrays: with plain images, of the rows that can be decoded. refused: why the others cannot, by row."""

    arrays: Arrays
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientImages:
    """The images that a version takes, and the processes that decode them."""

    source: Pixels
    workers: Workers

    def screened(self, signature: Signature, arrays: Arrays) -> Screened:
        """The inputs of a signature. Its input of image files is replaced; others stay as they are."""
        sent: Any = arrays.get(self.source.raw_name)
        if sent is None or sent.ndim != 1 or sent.dtype != np.dtype(object) or not len(sent):
            return Screened(arrays)
        plain = plain_images([bytes(content) for content in sent], self.source, self.workers)
        refused = {row: content for row, content in enumerate(plain) if isinstance(content, str)}
        kept = [row for row in range(len(sent)) if row not in refused]
        files = np.empty(len(kept), object)
        files[:] = [plain[row] for row in kept]
        others = {name: array[kept] if array.ndim and len(array) == len(sent) else array
                  for name, array in arrays.items()}
        return Screened({**others, self.source.raw_name: files}, refused)


def client_images(record: RunRecord | None, folder: Path, workers: Workers | None) -> ClientImages | None:
    """Of a version that takes image files, where there are workers; None for texts, and for graphs that kerastl did not
    write, which may take anything."""
    if workers is None or record is None or not record.modality.in_files or record.large is not None:
        return None
    source = restored(record.modality, record.input, folder)
    if not isinstance(source, Pixels):
        return None
    make_ready(source, workers)
    return ClientImages(source, workers)
