"""Folders of class folders: their files, with the class and the split of each, and what was made of their names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kerastl.data.examples import SkippedRows
from kerastl.data.found_rows import FoundRows
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.rows import Row, split_name
from kerastl.data.source import TABLES, no_table
from kerastl.data.treebanks import refuse_treebank
from kerastl.data.walk import Walk, entries, folders_in, walk
from kerastl.errors import DataError, OptionError
from kerastl.files import local_path, open_file

NOTES = ("readme", "license", "licence", "notes", "changelog", "labels", "classes", "metadata")  # about the data


@dataclass(frozen=True)
class FolderRows:
    """The rows of a folder. layout: in words. split: where the split comes from; empty if there is none."""

    rows: FoundRows
    layout: str
    split: str = ""
    notes: tuple[str, ...] = ()


def folder_rows(root: Path, skipped: SkippedRows, usable: tuple[str, ...] = (),
                options: ReadOptions = READ_AS_USUAL, folder: Path | None = None) -> FolderRows:
    """A row for each file of `<class>/**/<file>`, of `train/ validation/ test/` of such, or of `<class>/train/` and so
    on. Files elsewhere and class folders without files are skipped. usable: the endings of files that are data; by
    default any file is. With `split_column` none, folders named like splits are classes. folder: of a temporary file.

    Raises DataError where it is not clear whether such folders are splits or classes, OptionError for the name of a
    column.
    """
    _no_columns(root, options)
    met = Walk()
    folders = folders_in(root, met)
    if tables := _only_tables(root):
        raise DataError(f"{root} contains tables ({_listed(tables)}), no class folders",
                        "one table, a folder of Parquet files, or DIR/<class>/<file>", "name one of them; for data "
                        "that are split already, join them with a column `split` of train and test")
    splits = {} if options.split_column == NONE else {name: part for name in folders if (part := split_name(name))}
    whose = {name: bool(folders_in(folders[name])) for name in splits}
    if splits:
        result = _rows_of_splits(root, folders, splits, whose, skipped, usable, met, folder)
    else:
        result = _rows_of_classes(root, list(folders), skipped, usable, met, options.split_column != NONE, folder)
    for path, reason in met.loops:
        skipped.add(str(path.relative_to(root)), reason, rows=0)
    named = [name for name in folders if split_name(name)]
    classes = "is a class" if len(named) == 1 else "are classes"
    loud = [] if splits or not named else [
        f"WARNING: {_folder_s(named)} {_is_split(named)} and {classes} here, as requested"]
    if not splits and not result.split and (inner := _inner_folders(list(folders.values()))):
        loud.append(f"WARNING: {_listed(list(folders))} are read as classes, although each contains {_listed(inner)}: "
                    "if these are the classes, rename the outer folders to train, validation and test, or join them")
    unused = [f"not used ({reason}): {_listed(origins)}" for reason, origins in skipped.beside.items()]
    return replace(result, notes=(*result.notes, *loud, *met.notes(root), *unused))


def _only_tables(root: Path) -> list[str]:
    """The tables in a folder that has nothing else but files about them."""
    files = [path for path, is_folder in entries(root, Walk()) if not is_folder]
    tables = [path.name for path in files if path.suffix.lower() in TABLES]
    return tables if tables and not folders_in(root) and all(
        path.name in tables or path.suffix.lower() in (".md", ".txt", ".py", ".yaml", ".yml") for path in files) else []


def _inner_folders(folders: list[Path]) -> list[str]:
    """The folders that are in each of several folders, if these have the same two or more, as splits and folds have."""
    inner = [set(folders_in(folder)) for folder in folders]
    common = set.intersection(*inner) if len(inner) > 1 else set()
    return sorted(common) if len(common) > 1 and all(2 * len(common) > len(names) for names in inner) else []


def _no_columns(root: Path, options: ReadOptions) -> None:
    for argument, value in options.columns.items():
        if (argument, value) != ("split_column", NONE) and value != NONE:
            raise OptionError(f"`{argument}` is {value}, but {root} is a folder", "a table",
                              f"omit `{argument}`: the classes of a folder are the folders in it")


def _rows_of_splits(root: Path, folders: dict[str, Path], splits: dict[str, str], whose: dict[str, bool],
                    skipped: SkippedRows, usable: tuple[str, ...], met: Walk, temporary: Path | None) -> FolderRows:
    """The rows where some folders are named like splits; whose: whether each of these contains class folders."""
    others = {name: folder for name, folder in folders.items() if name not in splits}
    data = [name for name, folder in others.items() if _contains(folder, usable)]
    insist = "set `split_column` to none to read every folder as a class"
    if not any(whose.values()):
        if data:  # as in train/ car/ ship/: files lie in it, no class folders
            result = _rows_of_classes(root, list(folders), skipped, usable, met, False, temporary)
            which = "named like a split, is read as a class, because it contains" if len(splits) == 1 else \
                "named like splits, are read as classes, because they contain"
            return replace(result, notes=(f"WARNING: {_listed(splits)}, {which} files and no class folders",))
        if not any(_contains(folders[name], usable) for name in splits):
            return _rows_of_classes(root, list(folders), skipped, usable, met, False, temporary)
        raise DataError(f"{_folder_s(splits)} of {root} {_is_split(splits)} and contain{'s' * (len(splits) == 1)} no "
                        "class folders",
                        "train/<class>/<file> and so on, or <class>/<file>", f"move the files into class folders, or "
                        f"{insist}")
    if data:
        raise DataError(f"{root} contains {_listed(splits)}, which {_is_split(splits)}, beside {_listed(data)}",
                        "folders of splits, or class folders, but not both",
                        f"move {_listed(data)} elsewhere; or rename {_listed(splits)}, or {insist}")
    _skip_files(root, root, skipped, usable, met)
    for name, folder in others.items():
        reason = "not a split folder" if any(walk(folder)) else "empty folder"
        skipped.add(name, reason, rows=0)
    rows = FoundRows((row for name in splits for row in
                      _class_folders(folders[name], root, splits[name], skipped, usable, met)), temporary)
    return FolderRows(rows, "folders of splits with class folders", f"split from {_folder_s(splits)}")


def _rows_of_classes(root: Path, names: list[str], skipped: SkippedRows, usable: tuple[str, ...], met: Walk,
                     inner_splits: bool, temporary: Path | None) -> FolderRows:
    """The rows of class folders. inner_splits: whether `<class>/train/` and so on are splits."""
    inner = {name: list(folders_in(root / name)) for name in names}
    if not inner_splits or not any(split_name(name) == "train" for folders in inner.values() for name in folders):
        return FolderRows(FoundRows(_class_folders(root, root, "", skipped, usable, met), temporary), "class folders")
    outer = next(name for name, folders in inner.items() if any(map(split_name, folders)))
    clear = all(split_name(name) and not folders_in(root / folder / name)
                for folder, folders in inner.items() for name in folders)
    if not clear or any(not folders and _contains(root / name, usable) for name, folders in inner.items()):
        raise DataError(f"{outer} in {root} contains folders named like splits: "
                        f"{_listed([name for name in inner[outer] if split_name(name)])}",
                        "DIR/train/<class>/<file>, DIR/<class>/train/<file>, or DIR/<class>/<file>",
                        f"read {root / outer} instead, or set `split_column` to none to read {outer} as a class")
    rows = FoundRows((replace(row, split=split_name(Path(row.origin).parts[1]) if len(Path(row.origin).parts) > 2
                              else "") for row in _class_folders(root, root, "", skipped, usable, met)), temporary)
    return FolderRows(rows, "class folders with folders of splits", "split from the folders inside the class folders")


def _contains(folder: Path, usable: tuple[str, ...]) -> bool:
    """Whether there is a file of data in a folder."""
    return any(_is_data(path, usable) for path in walk(folder))


def _is_data(path: Path, usable: tuple[str, ...]) -> bool:
    return (not usable or path.suffix.lower() in ("", *usable)) and path.stem.lower() not in NOTES


def _class_folders(folder: Path, root: Path, split: str, skipped: SkippedRows, usable: tuple[str, ...], met: Walk
                   ) -> Iterator[Row]:
    _skip_files(folder, root, skipped, usable, met)
    for path in folders_in(folder).values():
        if path.is_symlink():
            if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(path)):
                met.loops.append((path, "link to a folder around it"))
                continue
            met.linked.append(path)
        file = None
        for file in walk(path, met):
            yield Row(str(file.relative_to(root)), str(file), (path.name,), split=split)
        if file is None:
            skipped.add(str(path.relative_to(root)), "class folder without files", rows=0)


def _skip_files(folder: Path, root: Path, skipped: SkippedRows, usable: tuple[str, ...], met: Walk) -> None:
    for path, is_folder in entries(folder, met if folder != root else Walk()):
        if not is_folder:
            skipped.add(str(path.relative_to(root)), "not inside a class folder", rows=int(_is_data(path, usable)))


def _folder_s(names: "list[str] | dict[str, str]") -> str:
    return f"the folder{'s' * (len(names) > 1)} {_listed(names)}"


def _is_split(names: "list[str] | dict[str, str]") -> str:
    return "is named like a split" if len(names) == 1 else "are named like splits"


def _listed(names: "list[str] | dict[str, str]") -> str:
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    if 1 < len(listed) <= 5:
        return f"{', '.join(listed[:-1])} and {listed[-1]}"
    return ", ".join(listed[:5]) + more


def no_source(source: str) -> DataError:
    """The error for a source that is neither a folder, nor a table, nor the name of a TFDS data set. Raises that of a
    treebank for one."""
    path, expected = local_path(source), f"a folder of class folders, a table ({', '.join(TABLES)}) or tfds:NAME"
    refuse_treebank(path)
    if not path.is_file():
        problem = f"{source} is not in a supported format" if path.exists() else f"no such file or folder: {source}"
        return DataError(problem, expected, "check the path of the data")
    with open_file(path) as file:
        other = no_table(path, file.read(512))
    return other or DataError(f"{source} is not in a supported format", expected, _remedy(path.suffix.lower()))


def _remedy(ending: str) -> str:
    """What to do about a file with another ending than those of tables."""
    remedies = {(".xls", ".xlsb", ".ods", ".numbers"): "save it as .xlsx or .csv",
                (".arrow", ".feather", ".orc", ".avro", ".pkl", ".pickle", ".h5", ".sqlite", ".db"):
                    "save it as .parquet or .csv",
                (".tar", ".tgz", ".7z", ".rar", ".tbz2", ".txz"): "unpack it, and name the folder or the table in it",
                (".txt", ".dat", ".data", ".text", ""): "name it .csv or .tsv if it is a table"}
    return next((remedy for endings, remedy in remedies.items() if ending in endings), "convert it to one of these")
