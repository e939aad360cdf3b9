"""The detector of a version, in `rejection.npz`: `kerastl export` and `kerastl verify` compute `unknown_score` with
it."""

import io
import zipfile
from pathlib import Path

import numpy as np

from kerastl.errors import ModelError
from kerastl.evaluation.rejection import Detector, Distances
from kerastl.files import read_bytes, write_file
from kerastl.versions.folder import VERIFY

FILE = "rejection.npz"
BACKGROUND, WHITE = "background_mean", "background_white"  # arrays of `Distances.background`


def write_detector(folder: Path, detector: Detector) -> None:
    """Write `rejection.npz` into a version folder: arrays, nothing that would be run."""
    arrays = {"name": np.array(detector.name), "threshold": np.array([detector.offset, detector.unit, detector.reject])}
    if (found := detector.distances) is not None:
        arrays |= {"mean": found.mean, "axes": found.axes, "scale": found.scale, "centres": found.centres,
                   "outside": np.array(found.outside)}
        if found.background is not None:
            arrays |= dict(zip((BACKGROUND, WHITE), found.background, strict=True))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    write_file(folder / FILE, file.getvalue())


def read_detector(folder: Path) -> Detector | None:
    """The detector of a version; None where it was written without one, by an earlier version. Raises ModelError for a
    damaged file."""
    if not (folder / FILE).exists():
        return None
    try:
        with np.load(io.BytesIO(read_bytes(folder / FILE)), allow_pickle=False) as arrays:
            offset, unit, reject = arrays["threshold"].tolist()
            if "mean" not in arrays:
                return Detector(str(arrays["name"]), None, offset, unit, bool(reject))
            background = (arrays[BACKGROUND], arrays[WHITE]) if BACKGROUND in arrays else None
            distances = Distances(arrays["mean"], arrays["axes"], arrays["scale"], arrays["centres"],
                                  float(arrays["outside"]), background)
            return Detector(str(arrays["name"]), distances, offset, unit, bool(reject))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{folder / FILE} is damaged: {error}", "the file that `kerastl run` wrote",
                         VERIFY) from error
