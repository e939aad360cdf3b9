"""What a later run needs, beyond the settings, to be the same run: the section `reproduction` of run.json, written when
a version is made and read by `kerastl reproduce`."""

import hashlib
import importlib.metadata
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl.data.examples import Examples, lowest
from kerastl.fields import Section, from_json
from kerastl.runtime import available_cores, cpu_flags
from kerastl.versions.folder import fingerprint

if TYPE_CHECKING:
    from kerastl.evaluation.result import Evaluation
    from kerastl.features.compute import Features

MADE_BY = "made_by"  # in the settings of a run: what ran it
PACKAGES = ("kerastl", "tensorflow", "tensorflow-text", "keras", "keras-hub", "numpy", "scipy", "scikit-learn",
            "openvino")
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
             "MKL_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS")  # that change results
HASHED_ROWS, SAMPLE_ROWS, SAMPLE_VALUES = 2048, 8, 16  # of the features
CHUNK = 64  # rows in memory at a time


@dataclass(frozen=True)
class MadeBy(Section):
    """What ran. pipeline: the function of kerastl, whose arguments are the settings. recipe: otherwise the file of the
    recipe, and sha256 of its content."""

    pipeline: str = ""
    recipe: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class FeatureSample(Section):
    """The features of a run, as far as a later run is compared with them. digest: of the first `rows` rows in the order
    of their ids. ids, values: of a few of these rows, a few values each, evenly spaced. cached: rows of the data that
    came from the cache and were not computed by the run. compute, engine: the arithmetic of the training rows."""

    rows: int
    digest: str
    ids: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    cached: int
    compute: str
    engine: str


@dataclass(frozen=True)
class Reproduction(Section):
    """What a run was, beyond its settings. packages: versions. threads: cores that the process could use; variables:
    environment variables that change how many are used, or which kernels. cpu: instruction sets that change results.
    data, split: fingerprints. explicit_precision: see `runtime.Runtime`. labels, scores: fingerprints of the labels,
    and digest of the calibrated logits, that were predicted for held-out rows. command: as it was typed, where it was
    one of kerastl."""

    made_by: MadeBy = MadeBy()
    packages: dict[str, str] = field(default_factory=dict)
    threads: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    cpu: tuple[str, ...] = ()
    data: str = ""
    split: str = ""
    explicit_precision: bool = False
    features: FeatureSample | None = None
    labels: str = ""
    scores: str = ""
    command: str = ""

    @property
    def sentence(self) -> str:
        """What is recorded, in words."""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items()
                             if name in ("kerastl", "tensorflow", "keras", "numpy"))
        return (f"kerastl reproduce runs it again and compares the data ({self.data[:8]}), the split "
                f"({self.split[:8]}), the features, the figures and the predictions. Recorded: the settings, "
                f"{packages}, {self.threads} threads.")


def reproduction_of(features: "Features", evaluation: "Evaluation", made_by: Mapping[str, Any] | None) -> Reproduction:
    """What a run was. made_by: as a recipe or pipeline names itself in its settings; None for a user's own steps."""
    examples, held_out = features.examples, evaluation.held_out
    data, split = fingerprints(examples)
    predicted = [f"{examples.ids[row]} {held_out.label(place)}" for place, row in enumerate(held_out.rows.tolist())]
    order = sorted(range(len(predicted)), key=predicted.__getitem__)
    return Reproduction(
        made_by=from_json(MadeBy, made_by or {}), packages=package_versions(), threads=available_cores(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        cpu=tuple(name for name in CPU_FLAGS if name in cpu_flags()), data=data, split=split,
        explicit_precision=features.runtime.explicit_precision, features=feature_sample(features),
        labels=fingerprint(predicted), scores=_digest(np.ascontiguousarray(held_out.logits[order], np.float64)),
        command=typed_command(sys.argv))


def typed_command(words: Sequence[str]) -> str:
    """The command line of a process that runs kerastl or one of its recipes, without the path of the program; empty for
    another program, whose arguments may be anything."""
    program = Path(words[0]) if words else Path()
    if program.name == "kerastl" or program.parts[-2:] == ("kerastl", "__main__.py"):
        return shlex.join(["kerastl", *words[1:]])
    if program.suffix == ".py" and program.parent.name == "recipes":
        return shlex.join(["python", f"recipes/{program.name}", *words[1:]])
    return ""


def fingerprints(examples: Examples) -> tuple[str, str]:
    """Of the data, which are contents and labels, and of their split. Raises nothing for examples without a split."""
    parts = examples.split.names if examples.split else [""] * len(examples)
    return (fingerprint([f"{content} {examples.label_of(row)}" for row, content in enumerate(examples.ids)]),
            fingerprint([f"{content} {part}" for content, part in zip(examples.ids, parts, strict=True)]))


def package_versions() -> dict[str, str]:
    """The versions of the installed packages that compute something."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # openvino has no wheels for some platforms
    return versions


def feature_sample(features: "Features") -> FeatureSample:
    """The features as a later run is compared with them: held-out rows in float32, the others as they train a head."""
    examples = features.examples
    order = lowest(examples.ids, most=HASHED_ROWS)
    split, digest = examples.split, hashlib.blake2b(digest_size=16)
    held_out = split.held_out if split and split.mode != "cv" else order[:0]
    values: list[tuple[float, ...]] = []
    for start in range(0, len(order), CHUNK):
        rows = order[start:start + CHUNK]
        test = np.isin(rows, held_out)
        numbers = np.empty((len(rows), *features.space.key.shape), np.float32)
        numbers[~test], numbers[test] = features.rows(rows[~test]), features.held_out_rows(rows[test])
        digest.update(numbers.tobytes())
        if len(values) < SAMPLE_ROWS:
            values += [_some(row) for row in numbers[:SAMPLE_ROWS - len(values)]]
    ids = tuple(examples.ids[row] for row in order[:len(values)].tolist())
    return FeatureSample(len(order), digest.hexdigest(), ids, tuple(values),
                         max(0, len(examples) - features.computed), features.compute, features.engine)


def _some(row: Any) -> tuple[float, ...]:
    flat = row.ravel()
    places = np.linspace(0, len(flat) - 1, min(SAMPLE_VALUES, len(flat))).astype(int)
    return tuple(float(str(value)) for value in flat[places])  # the shortest number that is the same float32


def _digest(array: Any) -> str:
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
