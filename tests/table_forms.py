"""The forms in which tables of texts may come: see `data_forms`."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
from data_forms import (
    COLUMNS,
    NAMES,
    Cells,
    Form,
    Row,
    Variant,
    Written,
    cells_of,
    encoded,
    plain,
    says_of_labels,
    whole_labels,
)

# Delimited text


def _delimited(folder: Path, rows: Sequence[Row], *, name: str = "reviews.csv", delimiter: str = ",", end: str = "\n",
               quoting: int = csv.QUOTE_MINIMAL, codec: str = "utf-8", sep: bool = False, layout: str = "",
               escaped: bool = False, compress: str = "", cells: Cells | None = None, says: tuple[str, ...] = (),
               several: bool = False, **columns: Any) -> Written:
    """layout: index (a column of row numbers with an empty name), short (such a column that the header does not count),
    last (lines end in a delimiter), nameless (the column of texts has no name)."""
    table = cells or cells_of(rows, **columns)
    breaks = any("\r" in str(cell) or "\n" in str(cell) for line in table.rows for cell in line)
    options: dict[str, Any] = {"doublequote": False, "escapechar": "\\"} if escaped else {}
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end,
                        quoting=csv.QUOTE_ALL if breaks else quoting, **options)
    front, behind = layout in ("index", "short"), [""] * (layout == "last")
    writer.writerow([*[""] * (layout == "index"), *_titles(table, layout), *behind])
    writer.writerows([*[str(i)] * front, *line, *behind] for i, line in enumerate(table.rows))
    text = f"sep={delimiter}{end}" * sep + out.getvalue()
    path = compressed(folder / name, encoded(text, codec), compress)
    chosen = table.options
    if layout == "nameless":
        place = table.roles.index("text")
        chosen = replace(chosen, text_column=f"column {place + 1}")
    if end == "\r":  # the ends of all lines, in cells too, are then line feeds
        rows = [replace(row, item=row.item.replace("\r", "\n")) for row in rows]
    return Written(path, rows, chosen, says + says_of_labels(rows) * (not several))


def _titles(table: Cells, layout: str) -> list[str]:
    if layout != "nameless":
        return table.names
    return ["" if role == "text" else title for title, role in zip(table.names, table.roles, strict=True)]


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)}


def compressed(path: Path, data: bytes, ending: str) -> Path:
    """Write data, compressed as the ending says; "" for not at all. Returns the path."""
    if ending == ".zip":
        path = path.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data/reviews.csv", data)
            archive.writestr("__MACOSX/data/._reviews.csv", b"\0")
        return path
    path = path.with_name(path.name + ending)
    path.write_bytes(COMPRESSIONS[ending](data) if ending else data)
    return path


def _for_tabs(text: str, variant: Variant) -> str:
    """A text that a tab-separated table can hold."""
    return text.replace("\t", " ") if variant["delimiter"] == "\t" and re.search("[\r\n]", text) else text


def _for_tsv(text: str, variant: Variant) -> str:
    return _for_tabs(text, {"delimiter": "\t"})


def _unquoted(folder: Path, rows: Sequence[Row], **columns: Any) -> Written:
    """Tab-separated text in which quotes are characters."""
    table = cells_of(rows, **columns)
    lines = ["\t".join(line) for line in [table.names, *table.rows]]
    (folder / "reviews.tsv").write_bytes("\n".join([*lines, ""]).encode())
    return Written(folder / "reviews.tsv", rows, table.options, says_of_labels(rows))


def _one_line(text: str, variant: Variant) -> str:
    """A text without what divides cells and lines where there are no quotes, or looks like them."""
    return re.sub(r"[\t\r\n]", " ", text).replace('\\"', "'").lstrip('"') or "nothing"


QUOTING = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
ENDS = ("\n", "\r\n", "\r")
LINES: Variant = {"quoting": QUOTING, "end": ENDS, **COLUMNS}


def _with_quotes(folder: Path, rows: Sequence[Row], **variant: Any) -> Written:
    """One row certainly has quotes: without any, whether two backslashes are one cannot be known."""
    first = replace(rows[0], item=f'she said "no" twice {rows[0].item}')
    return _delimited(folder, [first, *rows[1:]], escaped=True, **variant)


# JSON


def _json(folder: Path, rows: Sequence[Row], *, layout: str = "lines", name: str = "reviews.jsonl",
          codec: str = "utf-8", ascii_only: bool = False, numbers: bool = False, compress: str = "",
          cells: Cells | None = None, **columns: Any) -> Written:
    """layout: lines; array; pretty (an array over several lines); objects (one after the other, over several lines).
    numbers: labels that are numbers are stored as such."""
    table = cells or cells_of(rows, **columns)
    records = [{title: _number(cell) if numbers and role == "label" else cell
                for title, role, cell in zip(table.names, table.roles, line, strict=True)
                if cell != "" or role != "group"} for line in table.rows]
    options: dict[str, Any] = {"ensure_ascii": ascii_only}
    if layout in ("lines", "objects"):
        text = "\n".join(json.dumps(record, indent=2 if layout == "objects" else None, **options)
                         for record in records) + "\n"
    else:
        text = json.dumps(records, indent=2 if layout == "pretty" else None, **options)
    path = compressed(folder / name, encoded(text, codec), compress)
    return Written(path, rows, table.options, says_of_labels(rows))


def _number(label: Any) -> Any:
    return int(label) if isinstance(label, str) and re.fullmatch("0|-?[1-9][0-9]{0,8}", label) else label


# Parquet

KINDS = ("string", "large_string", "string_view", "binary", "large_binary", "dictionary")


def parquet_column(values: Sequence[Any], kind: str) -> Any:
    """An Arrow array of texts, or of lists of texts, stored in this type."""
    if any(isinstance(value, list) for value in values):
        return pyarrow.array(values, pyarrow.list_(pyarrow.string()))
    array = pyarrow.array([value or None for value in values], pyarrow.string())
    return array.dictionary_encode() if kind == "dictionary" else array.cast(getattr(pyarrow, kind)())


def class_numbers(rows: Sequence[Row], column: str = "label") -> tuple[list[str], list[int], dict[str, str]]:
    """Labels as numbers: the names, the numbers, and the metadata by which the library `datasets` keeps the names."""
    names = list(dict.fromkeys(row.labels[0] for row in rows))[::-1]
    feature = {column: {"names": names, "_type": "ClassLabel"}}
    return names, [names.index(row.labels[0]) for row in rows], {
        "huggingface": json.dumps({"info": {"features": feature}})}


def _parquet(folder: Path, rows: Sequence[Row], *, kind: str = "string", group_size: int = 3,
             compression: str = "snappy", cells: Cells | None = None, **columns: Any) -> Written:
    table = cells or cells_of(rows, **columns)
    arrays = [parquet_column(column, kind) for column in zip(*table.rows, strict=True)]
    path = folder / "reviews.parquet"
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=table.names), path, row_group_size=group_size,
                                compression=compression)
    return Written(path, rows, table.options, says_of_labels(rows))


def _class_labels(folder: Path, rows: Sequence[Row], **columns: Any) -> Written:
    table = cells_of(rows, **columns)
    place = table.roles.index("label")
    _, numbers, metadata = class_numbers(rows, table.names[place])
    arrays = [pyarrow.array(numbers) if i == place else parquet_column(column, "string")
              for i, column in enumerate(zip(*table.rows, strict=True))]
    path = folder / "reviews.parquet"
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=table.names).replace_schema_metadata(metadata), path)
    return Written(path, rows, table.options, (*says_of_labels(rows), "are the names in the file's metadata"))


def hub_files(folder: Path, rows: Sequence[Row], layout: str) -> list[tuple[Path, list[Row]]]:
    """The files of a repository of the Hub, with their rows: those of one split, of which the first has two files."""
    files: list[tuple[Path, list[Row]]] = []
    for split in dict.fromkeys(row.split for row in rows):
        of_split = [row for row in rows if row.split == split]
        half = (len(of_split) + 1) // 2 if split == rows[0].split else len(of_split)
        parts = [part for part in (of_split[:half], of_split[half:]) if part]
        for i, part in enumerate(parts):
            name = {"names": f"data/{split}-{i:05}-of-{len(parts):05}.parquet", "folders": f"{split}/{i:04}.parquet",
                    "plain": f"{split}{i or ''}.parquet"}[layout]
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            files.append((folder / name, part))
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return files


def of_files(rows: Sequence[Row]) -> list[Row]:
    """The rows as the names of the files tell their split: there is none if all rows have the same."""
    return [replace(row, split="") for row in rows] if len({row.split for row in rows}) == 1 else list(rows)


def _hub(folder: Path, rows: Sequence[Row], *, layout: str = "names", kind: str = "string", **columns: Any) -> Written:
    root = folder / "reviews"
    for path, part in hub_files(root, rows, layout):
        table = cells_of([replace(row, split="") for row in part], **columns)
        names, lines = table.names, table.rows
        if any(row.group for row in rows) and "group" not in table.roles:
            names, lines = [*names, "group"], [[*line, ""] for line in lines]
        arrays = [parquet_column(column, kind) for column in zip(*lines, strict=True)]
        arrays = [array.cast(pyarrow.string()) if title == "group" else array
                  for array, title in zip(arrays, names, strict=True)]
        pyarrow.parquet.write_table(pyarrow.table(arrays, names=names), path)
    says = ("Parquet files are read as one table", *says_of_labels(rows))
    return Written(root, of_files(rows), whole_labels(rows), says)


# Excel


def _excel(folder: Path, rows: Sequence[Row], *, numbers: bool = False, sheets: int = 1, **columns: Any) -> Written:
    table = cells_of(rows, **columns)
    book = openpyxl.Workbook()
    sheet = book.active
    for y, line in enumerate([table.names, *table.rows], 1):
        for x, (value, role) in enumerate(zip(line, table.roles, strict=True), 1):
            entry = sheet.cell(y, x)
            entry.value = _number(value) if numbers and role == "label" and y > 1 else value or None
            if isinstance(entry.value, str):
                entry.data_type = "s"  # otherwise a text that begins with = is a formula
    if sheets > 1:
        book.create_sheet("sources")["A1"] = "collected in May"
    book.save(folder / "reviews.xlsx")
    says = ("not used: 'sources'",) * (sheets > 1)
    return Written(folder / "reviews.xlsx", rows, table.options, (*says, *says_of_labels(rows)))


def _for_excel(text: str, variant: Variant) -> str:
    """A text that XML can hold, whose codes of the kind _x0041_ Excel does not read as characters."""
    text = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", " ", text).replace("_x", "-x")
    return text if text.strip() else "blank"


# Several labels


def _lists(folder: Path, rows: Sequence[Row], *, parquet: bool = False, **columns: Any) -> Written:
    table = cells_of(rows, label=list, **columns)
    several = any(len(row.labels) > 1 for row in rows)
    table = replace(table, options=replace(table.options, multi_label="auto" if several else "on"))
    return (_parquet if parquet else _json)(folder, rows, cells=table)


def _barred(folder: Path, rows: Sequence[Row], **columns: Any) -> Written:
    table = cells_of(rows, label="|".join, **columns)
    blanks = [replace(row, labels=tuple(map(str.strip, row.labels))) for row in rows]  # around bars, not mentioned
    says = ("several labels per row", *says_of_labels(row for row in blanks if len(row.labels) > 1))
    return _delimited(folder, rows, several=True, says=says, cells=replace(
        table, options=replace(table.options, multi_label="on")))


def _binary(folder: Path, rows: Sequence[Row], *, marks: tuple[str, str] = ("0", "1"), write: str = "csv",
            named: bool = True, **columns: Any) -> Written:
    """One column per label."""
    table = cells_of(rows, label=lambda labels: labels, **columns)
    place = table.roles.index("label")
    labels = sorted({label for row in rows for label in row.labels})
    lines = [[*line[:place], *(marks[label in line[place]] for label in labels), *line[place + 1:]]
             for line in table.rows]
    options = replace(table.options, multi_label="auto", label_column=",".join(labels))
    cells = Cells([*table.names[:place], *labels, *table.names[place + 1:]],
                  [*table.roles[:place], *["label"] * len(labels), *table.roles[place + 1:]], lines, options)
    writers: dict[str, Any] = {"csv": partial(_delimited, several=True), "json": _json, "parquet": _parquet}
    return replace(writers[write](folder, rows, cells=cells), says=())


def _for_columns(label: str, variant: Variant) -> str:
    """A label that `label_column` can name among others."""
    label = plain(label).replace(",", ";")
    reserved = {"text", "label", "group", "split", "number", "review", "sentiment", "autor", "teil", "was sagt er?"}
    return f"{label} 2" if label.casefold() in reserved else label

# The list

TEXT_TABLES = (
    Form("CSV", "Cells separated by commas. A cell that contains a comma, a quote or a line break is quoted, and "
         "quotes in it are doubled. Lines end in LF, CRLF or CR. The columns may be in any order, among others.",
         _delimited, {**LINES}, limits="If lines end in CR alone, a CR inside a cell becomes LF."),
    Form("CSV with another delimiter", "Cells separated by semicolons, tabs or bars, as spreadsheets write them in "
         "many countries. The delimiter is detected.", _delimited, {"delimiter": (";", "\t", "|"), **LINES},
         text=_for_tabs, label=_for_tabs, 
         limits="A cell of a tab-separated table cannot contain both a tab and a line break."),
    Form("CSV with a sep= line", "The first line names the delimiter, as Excel writes it.", partial(
        _delimited, sep=True, says=("names the delimiter",)), {"delimiter": (";", ",", "|", "^"), **LINES}),
    Form("CSV with backslashes", "Quotes inside cells are written with a backslash, as some databases and Spark write "
         "them.", _with_quotes, {"delimiter": (",", ";", "|"), **LINES},
         limits="At least one cell must contain a quote: otherwise backslashes are ordinary characters."),
    Form("CSV with row numbers", "As R and pandas write it: the first column has no name, or no place in the header.",
         _delimited, {"layout": ("index", "short"), "delimiter": (",", ";"), **LINES}),
    Form("CSV with a delimiter at the end of each line", "The empty column at the end is not used.",
         partial(_delimited, layout="last", says=("lines end in a delimiter",)),
         {"delimiter": (",", ";", "|"), **LINES}),
    Form("CSV with a column without a name", "It is called by its place: `--text-column \"column 1\"`.",
         partial(_delimited, layout="nameless", says=("has no name in the header",)),
         {"delimiter": (",", ";"), **LINES}),
    Form("TSV", "Cells separated by tabs, quoted where needed.",
         partial(_delimited, name="reviews.tsv", delimiter="\t"), {**LINES}, text=_for_tsv, label=_for_tsv,
         limits="A cell cannot contain both a tab and a line break."),
    Form("TSV without quotes", "Cells separated by tabs; quotes are ordinary characters.", _unquoted, {**COLUMNS},
         text=_one_line, label=_one_line,
         limits="Cells cannot contain tabs, line breaks or a backslash before a quote, nor begin with a quote."),
    Form("CSV in UTF-16 or with a byte order mark", "The encoding is detected.", _delimited,
         {"codec": ("utf-16", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16-be marked", "utf-32"),
          "delimiter": (",", "\t", ";"), **LINES},
         text=_for_tabs, label=_for_tabs),
    Form("CSV in cp1252 or latin-1", "The encoding is detected if the file is not valid UTF-8, and printed.",
         _delimited, {"codec": ("cp1252", "latin-1"), "delimiter": (";", ","), **LINES}, words=True,
         limits="Only characters of western European languages."),
    Form("CSV in another legacy encoding", "Such as cp1251 for Russian, cp932 for Japanese, gb18030 for Chinese.",
         _delimited, {"codec": ("cp1251", "cp932", "gb18030", "cp949", "cp1253"), "quoting": QUOTING, "end": ENDS},
         words=True, limits="The file must have several sentences. Hungarian and Turkish are often not recognized. "
         "Save such files as UTF-8 where you can."),
    Form("Compressed table", "By gzip, zstd, bzip2 or xz, or a ZIP archive that contains one table.", _delimited,
         {"compress": (".gz", ".zst", ".bz2", ".xz", ".zip"), **LINES}),
    Form("JSON lines", "One object per line.", _json, {"numbers": (False, True), "ascii_only": (False, True),
         "codec": ("utf-8", "utf-8-sig", "utf-16"), "compress": ("", ".gz"), **COLUMNS}),
    Form("JSON array", "An array of objects, or objects one after the other, also over several lines.",
         partial(_json, name="reviews.json"), {"layout": ("pretty", "array", "objects"), "numbers": (False, True),
         "ascii_only": (False, True), "codec": ("utf-8", "utf-16"), **COLUMNS}),
    Form("Parquet", "Texts stored as strings, bytes or dictionaries.", _parquet, {"kind": KINDS,
         "group_size": (3, 1000), "compression": ("snappy", "zstd", "none"), **COLUMNS}),
    Form("Parquet with numbers of classes", "The names are in the metadata that the library `datasets` writes "
         "(`ClassLabel`).", _class_labels, {**COLUMNS}),
    Form("Parquet files of the Hub", "A folder of Parquet files, as in repositories of the Hugging Face Hub, is one "
         "table. The names of the files or folders tell the split.", _hub, {"layout": ("names", "folders", "plain"),
         "kind": KINDS[:3], "names": NAMES[:2]}, splits="all"),
    Form("Excel", "The first sheet with content of an `.xlsx` workbook. The first row is the header.", _excel,
         {"numbers": (False, True), "sheets": (1, 2), **COLUMNS}, text=_for_excel, label=_for_excel,
         limits="Cells cannot contain control characters; a line break in a cell is LF."),
    Form("Pairs of texts", "Two columns of texts, for questions such as whether one sentence follows from the other.",
         _delimited, {**COLUMNS}, item="pair"),
)
SEVERAL = (
    Form("Lists of labels", "Each row has a list of labels, which may be empty.", _lists, {"parquet": (False, True),
         "names": NAMES}, several=True, limits="If no row has two labels, an empty list means that the label is "
         "missing; with `--multi-label on` it means that no label applies."),
    Form("Labels joined by bars", "`--multi-label on` separates labels at bars; without it they are separated if they "
         "clearly recombine.", _barred, {**COLUMNS}, several=True, limits="If no cell has a bar, `--multi-label on` "
         "separates labels at semicolons, or else at commas; lists in brackets come before all of these.",
         label=lambda label, variant: re.sub(r"[|;,\[]", "/", label)),
    Form("One column of 0 and 1 per label", "The columns are named in `--label-column a,b,c`.", _binary,
         {"marks": (("0", "1"), ("False", "True"), ("no", "yes"), ("0.0", "1.0")), "write": ("csv", "json", "parquet"),
          **COLUMNS}, several=True, label=_for_columns, limits="The names cannot contain commas."),
)
