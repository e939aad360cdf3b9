"""The part of the model card about a version as it was exported: its files, their latency, the date, the packages and
the command."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from kerastl.display import visible
from kerastl.export.parity import TIMED
from kerastl.export.tflite_files import PURPOSES
from kerastl.runtime import machine
from kerastl.versions.folder import MANIFEST, PACKAGES
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import Parity

CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Part:
    """Files of a version that belong together. names: of files, or of folders with a slash at the end."""

    names: tuple[str, ...]
    purpose: str

    def has(self, name: str) -> bool:
        """Whether a file, named as seen from the version folder, is one of these."""
        return any(name == own or (own.endswith("/") and name.startswith(own)) for own in self.names)


PARTS = (
    Part(("saved_model.pb", "variables/", "assets/", "fingerprint.pb"),
         "the SavedModel, for TF Serving, `kerastl serve`, `kerastl predict` and TensorFlow"),
    Part(("assets.extra/",), "a request that TF Serving sends itself at start"),
    *(Part((f"tflite/model_{kind}.tflite",), purpose) for kind, purpose in PURPOSES.items()),
    Part(("tflite/classify_image.py",), "a client for the LiteRT files in Python, without TensorFlow"),
    Part(("tflite/tokenize_text.py",), "reference code: a text to the token ids that the LiteRT files take"),
    Part(("tflite/test_vectors/",), "images with the pixels and probabilities that a client has to get"),
    Part(("tokenizer/",), "the vocabulary, for `tokenize_text.py` and for training"),
    Part(("labels.txt",), "the classes, in the order of the probabilities"),
    Part(("head.keras",), "the Keras model of the head on words, which takes the states of the encoder"),
    Part(("model.keras",), "the Keras model, for `kerastl export`, `verify`, `explain` and further training"),
    Part(("rejection.npz",), "what computes `unknown_score`, for `kerastl export`"),
    Part(("reference.npz",), "features and probabilities of held-out rows, for `kerastl drift`; no inputs"),
    Part(("held_out.npz",), "predictions for held-out rows by the hash of their content, to compare versions with"),
    Part(("split.csv",), "which rows were used for what, by the hash of their content, with their names"),
    Part(("relabel.csv",), "the corrections of labels that were applied"),
    Part(("run.json",), "all results and settings, for programs"),
    Part(("report.html",), "the report, for people; it shows some of the data"),
    Part((CARD,), "this page"),
    Part((MANIFEST,), "SHA-256 of every file, for `kerastl verify`"),
)
# In a private version, which cannot be exported again and shows no row.
PRIVATE = {"model.keras": "the Keras model, for `kerastl verify` and `explain`",
           "report.html": "the report, for people; it shows none of the data"}
OTHER = "see the documentation of the version folder"


def exported_section(folder: Path, record: RunRecord) -> str:
    """The section of a run record, see `files_section`."""
    made = record.reproduction.command if record.reproduction else ""
    return files_section(folder, made, record.parity, record.modality.noun, {} if record.private is None else PRIVATE)


def files_section(folder: Path, made: str, parity: Sequence[Parity], noun: str,
                  purposes: Mapping[str, str] = MappingProxyType({})) -> str:
    """The section, in Markdown. folder: of the version that is being written, complete but for the card and the
    manifest. made: the command. noun: of one input. purposes: of files that are not for what they usually are."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = [
        "", "## Files", "",
        f"Exported on {datetime.now(UTC):%Y-%m-%d} (UTC) with {packages}.",
        *(["", "The command that trained it:", "", f"    {' '.join(made.splitlines())}"] if made else []),
        "", "| files | size | what for |", "|---|--:|---|",
        *(f"| {', '.join(f'`{name}`' for name in names)} | {_size(size)} | {purpose} |"
          for names, size, purpose in _rows(folder, purposes)),
        *_latency(parity, noun),
    ]
    return visible("\n".join(lines) + "\n")


def _rows(folder: Path, purposes: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], int | None, str]]:
    """What is in a version folder: names, bytes (None: not written yet) and what it is for."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size
             for path in sorted(folder.rglob("*")) if path.is_file()}
    present: dict[str, int | None] = {**sizes, CARD: None, MANIFEST: None}
    for part in PARTS:
        found = [name for name in present if part.has(name)]
        names = tuple(own for own in part.names if any(Part((own,), "").has(name) for name in found))
        if found:
            known = [size for name in found if (size := present.pop(name)) is not None]
            yield names, sum(known) if known else None, purposes.get(part.names[0], part.purpose)
    yield from (((name,), size, OTHER) for name, size in present.items())


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} bytes"


def _latency(parity: Sequence[Parity], noun: str) -> list[str]:
    """How long one input takes in each format, as measured at export."""
    kept = [part for part in parity if part.kept]
    if not kept:
        return []
    here = machine()
    figures = "; ".join(f"{part.kind} {part.milliseconds:.1f} ms" for part in kept)
    rows = min(TIMED, kept[0].rows)
    return ["", f"Latency of one {noun} (batch size 1; median of {rows}; {here['cores']} threads on "
            f"{here['processor']}, {here['system']}): {figures}. The SavedModel gets the {noun} as a client sends it, "
            "the LiteRT files get it decoded. Measured once, at export; on a phone, measure it there."]
