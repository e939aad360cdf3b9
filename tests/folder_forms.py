"""Folders of class folders, and the forms in which texts may come in them: see `data_forms`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data_forms import SPELLINGS, Form, Row, Variant, Written, encoded, says_of_labels, whole_labels


def in_folders(root: Path, rows: Sequence[Row], content: Callable[[Row], bytes], ending: Callable[[Row], str], *,
               layout: str = "classes", spelling: Mapping[str, str] = SPELLINGS[0], stem: str = "{}", inner: str = "",
               junk: bool = False, link: str = "") -> None:
    """Files in folders. layout: classes (class/file), splits (train/class/file) or inside (class/train/file). inner: a
    folder inside the class folder. link: what is a link: class, file or inner; loop: a link to the root is there."""
    store = root.with_name("store")
    for i, row in enumerate(rows):
        split = spelling.get(row.split, "").strip()
        parts = {"classes": [row.labels[0]], "splits": [split, row.labels[0]], "inside": [row.labels[0], split]}[layout]
        folder = root.joinpath(*parts)
        if link == "class" or (link == "inner" and inner):
            target = store / str(len(row.labels[0])) / row.labels[0].replace("/", "-") / split
            place = folder if link == "class" else folder / inner
            (target / (inner if link == "class" else "")).mkdir(parents=True, exist_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():
                place.symlink_to(target)
        folder = folder / inner
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (stem.format(i) + ending(row))
        if link == "file":
            store.mkdir(exist_ok=True)
            (store / str(i)).write_bytes(content(row))
            path.symlink_to(store / str(i))
        else:
            path.write_bytes(content(row))
    if link == "loop":
        (next(path for path in sorted(root.iterdir())) / "loop").symlink_to(root)
    if junk:
        _junk(root, sorted(path for path in root.rglob("*") if path.is_dir())[-1])


def _junk(root: Path, deep: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / name).write_bytes(b"\0\1")
        (deep / name).write_bytes(b"\0\1")
    for folder in (root / "__MACOSX/cat", deep / ".ipynb_checkpoints", root / "empty"):
        folder.mkdir(parents=True)
    (root / "__MACOSX/cat/._1.txt").write_bytes(b"\0\5\x16\7")
    (deep / ".ipynb_checkpoints/1.txt").write_text("draft")
    (root / "README.txt").write_text("collected in May")


FOLDERS: Variant = {"stem": ("{}", "ünï code {}", "a.b, {} (1)"), "inner": ("", "2024", "a b/c"), "junk": (False, True)}
# The classes of a folder may be named like splits: then a message asks what they are
SPLIT_LIKE = "named like (a )?splits?"


def _texts_in_folders(folder: Path, rows: Sequence[Row], *, codec: str = "utf-8", last: str = "", **layout: Any
                      ) -> Written:
    """last: what follows each text in its file."""
    root = folder / "reviews"
    in_folders(root, rows, lambda row: encoded(row.item + last, codec), lambda row: ".txt", **layout)
    says = (("ignored by name",) * layout.get("junk", False)
            + ("link",) * (layout.get("link", "") in ("class", "loop")) + says_of_labels(rows))
    read = [replace(row, item=row.item.rstrip("\r\n")) for row in rows]
    return Written(root, read, whole_labels(rows), says, SPLIT_LIKE)


def _for_files(text: str, variant: Variant) -> str:
    """A text whose file shows its encoding: without NUL bytes and a byte order mark of its own."""
    return text.replace("\0", " ").lstrip("\ufeff") or "nothing"


def for_folders(label: str, variant: Variant) -> str:
    """A label that can be the name of a folder that is not ignored."""
    label = re.sub("[/\0]", "-", label)
    junk = {"icon\r", "thumbs.db", "desktop.ini", "__macosx", "readme.txt", "empty", "loop"}
    return f"x{label}" if label.startswith((".", "~$")) or label.lower() in junk else label


TEXT_FOLDERS = (
    Form("Folders of .txt files", "Each folder is a class; its files may be in folders inside it. Encodings are "
         "detected for each file.", _texts_in_folders, {"codec": ("utf-8", "utf-8-sig", "utf-16", "utf-16-be marked"),
         "last": ("", "\n", "\r\n"), **FOLDERS}, groups=False, splits="no", text=_for_files, label=for_folders,
         limits="The line breaks at the end of a file are not part of the text. Folders that are all named "
         "like splits are taken for splits."),
    Form("Split folders of .txt files", "Folders named like splits, in any usual spelling, contain the class folders.",
         partial(_texts_in_folders, layout="splits"), {"spelling": SPELLINGS, **FOLDERS}, groups=False, splits="all",
         text=_for_files, label=for_folders),
)
