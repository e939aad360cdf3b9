"""Prints the examples of the page "What your data may look like": the forms that the tests know, each with a small data
set as it is really written, and what kerastl prints when it reads that. `python docs/output.py` puts it into the page.

python docs/forms.py
"""

import contextlib
import io
import os
import sys
import tempfile
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import pyarrow.parquet
from data_forms import Form, Row
from folder_forms import TEXT_FOLDERS
from image_forms import IMAGE_FORMS, Picture
from refused_forms import REFUSED, REFUSED_IMAGES
from table_forms import SEVERAL, TEXT_TABLES

from kerastl.data.encoding import decoded
from kerastl.data.images import read_images
from kerastl.data.texts import read_texts
from kerastl.errors import KerastlError

SECTIONS = (("Tables of texts", TEXT_TABLES), ("Several labels per row", SEVERAL), ("Folders of texts", TEXT_FOLDERS),
            ("Images", IMAGE_FORMS))
TEXTS = ("A good film, really.", 'He said "no" twice.', "Two lines:\nboth dull.", "Le café était déjà fermé.")
RUSSIAN = ("очень хороший фильм и мне понравилось что он был снят не зря", "спасибо за этот хороший фильм",
           "мне не понравилось что день был просто такой", "жизнь и человек в этом фильме не очень")
LABELS = ("positive", "negative", "negative", "positive")
SETS = (("comedy", "drama"), ("drama",), (), ("comedy",))
SPLITS = ("train", "train", "test", "test")


def rows_of(form: Form) -> list[Row]:
    """A small data set that this form can hold."""
    variant = {name: values[0] for name, values in form.variants.items()}
    texts = RUSSIAN if variant.get("codec") == "cp1251" else TEXTS
    rows = []
    for i, (text, label) in enumerate(zip(texts, LABELS, strict=True)):
        item = {"text": form.text(text, variant), "pair": (f"Claim {i}.", text), "image": Picture(i)}[form.item]
        labels = (("cat", "dog")[label == "positive"] if form.item == "image" else label,)
        if form.several:
            labels = SETS[i] or SETS[1] * ("joined" in form.name)
        whole = form.name == "CSV"  # the example with all columns
        group, split = ("Ann", "Ann", "Bob", "Eve")[i] * whole, SPLITS[i] * (whole or form.splits == "all")
        rows.append(Row(item, labels, group, split))
    return rows


def read(source: Path, item: str, **options: object) -> str:
    """What kerastl prints when it reads a source, or its message."""
    out, function = io.StringIO(), read_images if item == "image" else read_texts
    with contextlib.redirect_stdout(out):
        try:
            function(source, min_per_class=1, cache_dir="cache", **options)  # type: ignore[arg-type]
        except KerastlError as error:
            print(f"error: {error}")
    return out.getvalue().rstrip()


def shown(folder: Path) -> str:
    """What is in a folder: the names, then the content of the first file of a table."""
    paths = [Path(root) / name for root, folders, names in os.walk(folder) for name in [*names, *folders]]
    files = sorted((path for path in paths if path.is_symlink() or path.is_file()), key=str)
    lines = [f"{path.relative_to(folder)}" + (f" -> {os.path.relpath(os.readlink(path), folder)}" if path.is_symlink()
                                              else "") for path in files]
    table = next((path for path in files if path.suffix in (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")
                  and not path.with_suffix(".png").exists()), None)
    return "\n".join([*lines, *(["", *content(table)] if table else [])])


def content(table: Path) -> list[str]:
    """The text of a table, or its columns."""
    if table.suffix == ".parquet":
        schema = pyarrow.parquet.read_schema(table)
        return [f"{field.name}: {field.type}" for field in schema]
    if table.suffix == ".xlsx":
        import openpyxl

        return [" | ".join(map(repr, row)) for row in openpyxl.load_workbook(table).active.iter_rows(values_only=True)]
    return [line.replace("\t", "→") if "\t" in line else line for line in decoded(table.read_bytes())[0].splitlines()]


def example(form: Form) -> list[str]:
    """The part of the page about one form."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name).resolve() / "data"
        folder.mkdir()
        written = form.write(folder, rows_of(form), **{name: values[0] for name, values in form.variants.items()})
        with contextlib.chdir(folder):
            tree = shown(folder)
            out = read(written.source.relative_to(folder), form.item, options=written.options)
    limits = [textwrap.fill(f"Limits: {form.limits}", 120), ""] if form.limits else []
    return [f"### {form.name}", "", textwrap.fill(form.about, 120), "", *limits, *block(tree),
            "kerastl prints:", "", *block(out)]


def block(text: str) -> list[str]:
    return ["```text", text, "```", ""]


def refusals() -> list[str]:
    """The part of the page about what is refused."""
    lines = ["## What is refused", "", "A message says what was found, what was expected and what to do.", ""]
    for form in REFUSED:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            source = form.write(folder)
            with contextlib.chdir(folder):
                message = read(source.relative_to(folder), form.item, options=form.options)
            lines += [f"{form.about}:", "", *block(message)]
    return lines


def refused_images() -> list[str]:
    """A table of the files that the decoder refuses."""
    from kerastl.inputs.images import Decoder

    decode = Decoder(32)
    reasons = {name: decode(data) for name, data in REFUSED_IMAGES.items()}
    assert all(isinstance(reason, str) for reason in reasons.values())
    return ["## Images that are skipped", "", "These files are found when images are decoded. Their rows are skipped, "
            "with the reason.", "", "| file | reason |", "|---|---|",
            *(f"| {name} | {reason} |" for name, reason in reasons.items()), ""]


def read_data() -> str:
    """The part of the page that needs no TensorFlow."""
    lines = []
    for title, forms in SECTIONS:
        lines += [f"## {title}", "", *(line for form in forms for line in example(form))]
    return "\n".join([*lines, *refusals()])


if __name__ == "__main__":
    print("\n".join([read_data(), *refused_images()]))
