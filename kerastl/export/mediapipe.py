"""A TFLite file for MediaPipe Tasks: pixels in, probabilities alone out, with metadata and the labels inside.

The metadata follow TensorFlow Lite's schema (metadata_schema.fbs, identifier M001): a FlatBuffer in a buffer named
TFLITE_METADATA, and the files that it names in a ZIP archive behind the model.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers

from kerastl.errors import ModelError, OptionError
from kerastl.export.lite_graph import LiteGraph
from kerastl.fields import Section
from kerastl.files import local_path, read_bytes, write_atomically
from kerastl.modality import TFLITE_KINDS
from kerastl.versions.damage import require_unchanged
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord

BUFFER, IDENTIFIER, LABELS = "TFLITE_METADATA", b"M001", "labels.txt"
PROBABILITIES = "probabilities"
FEATURE_PROPERTIES, IMAGE_PROPERTIES, RGB, AXIS_LABELS = 1, 2, 1, 2  # values of the schema's union and enums


@dataclass(frozen=True)
class MediaPipeFile(Section):
    """A file that was written. kind: of the TFLite file that it was made of. bytes: its size."""

    path: str
    model: str
    kind: str
    labels: int
    bytes: int


def write_mediapipe(model: str, path: str | Path, kind: str = "fp32") -> MediaPipeFile:
    """Write a TFLite file that MediaPipe's ImageClassifier reads, made of one of a version's own files.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. path: of the file to write. kind: of the
    file that it is made of; nothing is converted. Raises OptionError for a kind that the version does not have,
    ModelError for a model that does not take images or that is damaged.
    """
    folder = find_version(model)
    record = RunRecord.read(folder)
    content = mediapipe_file(folder, record, kind)
    write_atomically(local_path(path), content)
    return MediaPipeFile(str(path), str(folder), kind, len(record.classes), len(content))


def mediapipe_file(folder: Path, record: RunRecord, kind: str) -> bytes:
    """The content of the file, see `write_mediapipe`."""
    if not record.modality.in_files:
        raise ModelError(f"{folder} classifies {record.modality.nouns}", "a model of images",
                         "MediaPipe's text classifier takes other inputs than ours")
    name = f"tflite/model_{kind}.tflite"
    require_unchanged(folder, name)
    if kind not in TFLITE_KINDS or not (folder / name).is_file():
        present = sorted(path.stem.removeprefix("model_") for path in (folder / "tflite").glob("model_*.tflite"))
        raise OptionError(f"{folder} has no TFLite file of the kind {kind!r}", f"one of {', '.join(present) or 'none'}",
                          "write it with `kerastl export`, and `new_version`")
    return with_metadata(read_bytes(folder / name), record.name, record.classes)


def with_metadata(content: bytes, name: str, classes: tuple[str, ...]) -> bytes:
    """A TFLite file with `probabilities` as its only output, and with metadata. content: one of ours."""
    graph = LiteGraph(content)
    graph.keep_output(PROBABILITIES)
    graph.add_metadata(BUFFER, _metadata(name))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        label = zipfile.ZipInfo(LABELS, (1980, 1, 1, 0, 0, 0))
        zipped.writestr(label, "".join(f"{' '.join(one.split())}\n" for one in classes))
    return graph.written() + archive.getvalue()


def _metadata(name: str) -> bytes:
    """The metadata as a FlatBuffer. The places of fields are those of the schema."""
    builder = flatbuffers.Builder(1024)
    properties = _table(builder, {0: ("int8", RGB)}, 2)
    content = _table(builder, {0: ("uint8", IMAGE_PROPERTIES), 1: ("offset", properties)}, 3)
    taken = _table(builder, {0: ("offset", builder.CreateString("image")), 1: ("offset", builder.CreateString(
        "The image as uint8 RGB pixels; scaling is part of the model.")), 3: ("offset", content)}, 7)
    file = _table(builder, {0: ("offset", builder.CreateString(LABELS)), 1: ("offset", builder.CreateString(
        "The labels, in the order of the probabilities.")), 2: ("int8", AXIS_LABELS)}, 5)
    feature = _table(builder, {0: ("uint8", FEATURE_PROPERTIES), 1: ("offset", _table(builder, {}, 0))}, 3)
    score = _table(builder, {0: ("offset", builder.CreateString("probability")), 1: ("offset", builder.CreateString(
        "The calibrated probability of each class.")), 3: ("offset", feature),
        6: ("offset", _vector(builder, [file]))}, 7)
    graph = _table(builder, {2: ("offset", _vector(builder, [taken])), 3: ("offset", _vector(builder, [score]))}, 10)
    model = _table(builder, {0: ("offset", builder.CreateString(name)), 1: ("offset", builder.CreateString(
        "An image classifier made by kerastl.")), 3: ("offset", _vector(builder, [graph])),
        7: ("offset", builder.CreateString("1.0.0"))}, 8)
    builder.Finish(model, IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: Any, fields: dict[int, tuple[str, int]], size: int) -> int:
    builder.StartObject(size)
    for place, (kind, value) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(place, value, 0)
        elif kind == "int8":
            builder.PrependInt8Slot(place, value, 0)
        else:
            builder.PrependUint8Slot(place, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
