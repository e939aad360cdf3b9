"""The forms in which data sets of images may come: see `data_forms`."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from data_forms import COLUMNS, SPELLINGS, Form, Row, Written, cells_of, says_of_labels, whole_labels
from folder_forms import FOLDERS, SPLIT_LIKE, for_folders, in_folders
from PIL import Image
from table_forms import class_numbers, hub_files, of_files

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".JPG": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".bmp": "BMP",
           ".webp": "WEBP"}


@dataclass(frozen=True)
class Picture:
    """An image: one of those that `number` tells apart, in the format of an ending."""

    number: int
    ending: str = ".png"

    @property
    def data(self) -> bytes:
        return _file(self.number, FORMATS[self.ending])


@cache
def _file(number: int, kind: str) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _in_folders(folder: Path, rows: Sequence[Row], *, captions: str = "", **layout: Any) -> Written:
    """captions: the ending of a description beside each image."""
    root = folder / "photos"
    in_folders(root, rows, lambda row: row.item.data, lambda row: row.item.ending, **layout)
    if captions:
        for path in [path for path in root.rglob("*") if path.suffix in FORMATS]:
            path.with_suffix(captions).write_text(json.dumps({"caption": f"a photo: {path.stem}"}))
    says = (("ignored by name",) * layout.get("junk", False) + ("as captions or descriptions",) * bool(captions)
            + ("link",) * (layout.get("link", "") in ("class", "inner", "loop")) + says_of_labels(rows))
    return Written(root, rows, whole_labels(rows), says, SPLIT_LIKE)


STEMS = ("{}", "ünï, code {}", "a b/{} (1)", "IMG;{}|x")


def _paths(folder: Path, rows: Sequence[Row], *, windows: bool = False, stem: str = STEMS[0], write: str = "csv",
           **columns: Any) -> Written:
    names = ["images/" + stem.format(i) + row.item.ending for i, row in enumerate(rows)]
    for name, row in zip(names, rows, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(row.item.data)
    written = [name.replace("/", "\\") if windows else name for name in names]
    given = [replace(row, item=name) for row, name in zip(rows, written, strict=True)]
    table = cells_of(given, item="path", **columns)
    lines = [dict(zip(table.names, line, strict=True)) for line in table.rows]
    path = folder / f"photos.{write}"
    if write == "jsonl":
        path.write_text("\n".join(map(json.dumps, lines)))
    elif write == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, table.names, quoting=csv.QUOTE_ALL if stem != STEMS[0] else csv.QUOTE_MINIMAL)
            writer.writeheader()
            writer.writerows(lines)
    says = ("are read as Windows paths",) * windows + says_of_labels(rows)
    return Written(path, rows, table.options, says)


def _cells(rows: Sequence[Row], kind: str) -> Any:
    data = [row.item.data for row in rows]
    if kind == "bytes":
        return pyarrow.array(data, pyarrow.binary())
    return pyarrow.array([{"bytes": image, "path": f"{i}{row.item.ending}" if kind == "struct" else None}
                          for i, (image, row) in enumerate(zip(data, rows, strict=True))])


def _inside(folder: Path, rows: Sequence[Row], *, kind: str = "struct", numbers: bool = True, title: str = "image"
            ) -> Written:
    path = folder / "photos.parquet"
    _write(path, rows, rows, kind, numbers, title)
    return Written(path, rows, whole_labels(rows), ("inside the table, unpacked to", *says_of_labels(rows)))


def _write(path: Path, rows: Sequence[Row], all_rows: Sequence[Row], kind: str, numbers: bool, title: str) -> None:
    names, _, metadata = class_numbers(all_rows)
    labels = [names.index(row.labels[0]) if numbers else row.labels[0] for row in rows]
    columns = {title: _cells(rows, kind), "label": pyarrow.array(labels)}
    for role in ("group", "split"):
        if any(getattr(row, role) for row in all_rows):
            columns[role] = pyarrow.array([getattr(row, role) for row in rows])
    pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata if numbers else None), path,
                                row_group_size=4)


def _hub(folder: Path, rows: Sequence[Row], *, layout: str = "names", kind: str = "struct", numbers: bool = True
         ) -> Written:
    root, bare = folder / "photos", [replace(row, split="") for row in rows]
    for path, part in hub_files(root, rows, layout):
        _write(path, [replace(row, split="") for row in part], bare, kind, numbers, "image")
    return Written(root, of_files(rows), whole_labels(rows), ("Parquet files are read as one table",))


IMAGE_FORMS = (
    Form("Folders of images", "Each folder is a class; its files may be in folders inside it. JPEG, PNG, GIF, BMP and "
         "WebP.", _in_folders, {**FOLDERS}, item="image", groups=False, splits="no", label=for_folders),
    Form("Split folders of images", "Folders named like splits, in any usual spelling, contain the class folders.",
         partial(_in_folders, layout="splits"), {"spelling": SPELLINGS, **FOLDERS}, item="image", groups=False,
         splits="all", label=for_folders),
    Form("Class folders with split folders inside", "`<class>/train/<file>` and so on.",
         partial(_in_folders, layout="inside"), {"spelling": SPELLINGS, **FOLDERS}, item="image", groups=False,
         splits="all", label=for_folders),
    Form("Captions beside images", "Text, JSON, XML and CSV files beside images are ignored, and counted.",
         _in_folders, {"captions": (".txt", ".json", ".caption", ".xml"), **FOLDERS}, item="image", groups=False,
         splits="no", label=for_folders),
    Form("Links", "Links to folders and files are followed. A link to a folder around it is listed and skipped.",
         _in_folders, {"link": ("class", "inner", "file", "loop"), **{**FOLDERS, "inner": ("2024", "a b/c")}},
         item="image", groups=False, splits="no", label=for_folders),
    Form("Table of images", "A column of paths, relative to the folder of the table.", _paths,
         {"stem": STEMS, "write": ("csv", "jsonl", "parquet"), **{**COLUMNS, "names": (
             {"path": "path", "label": "label"}, {"path": "File Name", "label": "Category"},
             {"path": "Bild", "label": "Urteil", "group": "Serie", "split": "Teil"})}}, item="image"),
    Form("Table of images with Windows paths", "Backslashes are read as slashes where that leads to a file.",
         partial(_paths, windows=True), {"stem": STEMS, "write": ("csv", "jsonl")}, item="image"),
    Form("Images inside Parquet", "As bytes, or as structs of `bytes` and `path`; labels as text or as `ClassLabel`.",
         _inside, {"kind": ("struct", "bytes", "no path"), "numbers": (True, False), "title": ("image", "img", "x")},
         item="image"),
    Form("Images of the Hub", "A folder of Parquet files with images inside, as in repositories of the Hugging Face "
         "Hub.", _hub, {"layout": ("names", "folders", "plain"), "kind": ("struct", "bytes"),
                        "numbers": (True, False)}, item="image", splits="all"),
)
