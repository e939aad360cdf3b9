"""Writing the artifacts of one model into a version's folder, each proved equal to Keras or not written."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.examples import TEST, Examples
from kerastl.decision import Calibration
from kerastl.errors import CheckFailed
from kerastl.export import reference_tokenizer, saved_model, tflite
from kerastl.export.parity import Reference, choose_rows, compare_saved_model, compare_tflite
from kerastl.inputs import Input
from kerastl.model import parts_of
from kerastl.versions.folder import Version, fingerprint
from kerastl.versions.sections import Parity


@dataclass(frozen=True)
class Exported:
    """What was written, and how each artifact compares. `breaches` are the kinds that were not written."""

    parity: tuple[Parity, ...]

    @property
    def breaches(self) -> tuple[str, ...]:
        """Kinds that broke their bound."""
        return tuple(one.kind for one in self.parity if not one.kept)


def export_model(version: Version, model: Any, source: Input, examples: Examples, calibration: Calibration, *,
                 kinds: Sequence[str] = tflite.KINDS, name: str = "model") -> Exported:
    """Write SavedModel, TFLite files, model.keras, labels.txt and split.csv, and compare each with Keras.

    model: spliced from backbone and head. A TFLite file that breaks its bound is not written.
    Raises CheckFailed when the SavedModel does: then no version is left behind.
    """
    folder = version.folder
    saved_model.save(folder, parts_of(model), source, examples.classes, calibration)
    reference = Reference(model, source, examples, choose_rows(examples))
    first = compare_saved_model(reference, folder)
    if not first.kept:
        raise CheckFailed(f"the SavedModel differs from Keras by {first.max_difference:.2g} (agreement "
                          f"{first.agreement:.1%})", first.bound, "no version was written; please report this")
    saved_model.write_warmup(folder, name, source, source.contents([reference.items[0]]))
    model.save(folder / "model.keras")
    source.save(folder)
    (folder / "labels.txt").write_text("".join(f"{one}\n" for one in map(_one_line, examples.classes)),
                                       encoding="utf-8")
    _write_split(folder / "split.csv", examples)
    version.about["data"] = {
        "source": examples.source, "rows": len(examples),
        "fingerprint": fingerprint([f"{one} {examples.label_of(row)}" for row, one in enumerate(examples.ids)]),
        "split": fingerprint([f"{one} {part}" for one, part in zip(examples.ids, _parts(examples), strict=True)]),
    }
    lite = write_tflite(folder / "tflite", model, examples, calibration.temperature, kinds, reference)
    return Exported((first, *lite))


def write_tflite(folder: Path, model: Any, examples: Examples, temperature: float, kinds: Sequence[str],
                 reference: Reference) -> list[Parity]:
    """Convert, compare, and write those that hold their bound as `model_KIND.tflite`."""
    one = reference.source.single_spec
    if not kinds or one is None:
        return []
    folder.mkdir(exist_ok=True)
    if reference.source.client_modules():
        shutil.copyfile(reference_tokenizer.__file__, folder / "tokenize_text.py")
    found = []
    ranges = list(_calibration(reference.source, examples)) if "int8" in kinds else []
    with tqdm(total=len(kinds), desc="TFLite", unit=" files") as bar:
        for kind, content in tflite.convert(model, one, temperature, examples.multi_label, kinds, ranges):
            compared = compare_tflite(reference, kind, content)
            if compared.kept:
                (folder / f"model_{kind}.tflite").write_bytes(content)
            found.append(compared)
            bar.update(1)
    return found


def _calibration(source: Input, examples: Examples) -> Iterator[NDArray[Any]]:
    """Training rows for the int8 ranges: the last hundred by hash, where parity compares on the first ones."""
    split = examples.split
    rows = np.arange(len(examples))
    if split is not None and split.mode != "cv":
        rows = np.flatnonzero(split.part != TEST)
    chosen = sorted(rows, key=lambda row: examples.ids[row])[-tflite.CALIBRATION:]
    for batch in source.batches(examples.take(map(int, chosen)).items, 32, {}):
        yield from map(source.fixed, batch.values)


def _parts(examples: Examples) -> list[str]:
    if examples.split is None:
        return [""] * len(examples)
    if examples.split.mode == "cv":
        return [f"fold {part}" for part in examples.split.part]
    return [("train", "validation", "test")[part] for part in examples.split.part]


def _write_split(path: Path, examples: Examples) -> None:
    """Which content was on which side: `kerastl evaluate` tells with it whether "new" data are new."""
    rows = sorted(zip(examples.ids, _parts(examples), strict=True))
    path.write_text("id,part\n" + "".join(f"{one},{part}\n" for one, part in rows))


def _one_line(name: str) -> str:
    return name.replace("\n", " ").replace("\r", " ")
