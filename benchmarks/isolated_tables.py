"""What it costs to read Parquet and Excel tables in worker processes instead of in this one."""

import io
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from statistics import median

from benchmarks import images
from benchmarks.figure import Figure, at_most

ROUNDS, GOAL = 5, 1.15
TEXTS, CELLS, IMAGES = 200_000, 20_000, 2_000  # rows in Parquet, in Excel, and of images in Parquet


def of_reading() -> list[Figure]:
    """Processor time and seconds of reading the same tables, in turn, and of starting the process."""
    from kerastl.data.images import read_images
    from kerastl.data.texts import read_texts
    from kerastl.inputs.isolation import isolated

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables: dict[str, tuple[Path, int, Callable[[Path], object]]] = {
            "`read_texts`, Parquet": (_texts(folder / "t.parquet"), TEXTS, lambda path: read_texts(str(path))),
            "`read_texts`, Excel": (_cells(folder / "t.xlsx"), CELLS, lambda path: read_texts(str(path))),
            "`read_images`, images of 500 x 375 in Parquet": (
                _images(folder), IMAGES, lambda path: read_images(str(path), cache_dir=str(folder / "cache"))),
            "records alone, without what is done with them, Parquet": (folder / "t.parquet", TEXTS, _records)}
        with isolated("on"):
            start, before = time.perf_counter(), _used()
            next(_opened(tables["`read_texts`, Excel"][0]))
            first = time.perf_counter() - start, _used() - before
            figures = [figure for what, table in tables.items()
                       for figure in _compared(what, *table, goal=not what.startswith("records"))]
    return [*figures, Figure(f"starting, and the first record of {CELLS:,} rows of Excel, once",
                             f"{first[0]:.1f} s, {first[1]:.1f} core-s")]


def _compared(what: str, path: Path, rows: int, read: Callable[[Path], object], goal: bool) -> list[Figure]:
    from kerastl.inputs.isolation import isolated

    took: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    for number in range(ROUNDS + 1):
        for mode in took:
            with isolated("off") if mode == "off" else nullcontext(), redirect_stderr(io.StringIO()):
                start, before = time.perf_counter(), _used()
                read(path)
                if number:
                    took[mode].append((time.perf_counter() - start, _used() - before))
    seconds, processor = ({mode: median(one[place] for one in rounds) for mode, rounds in took.items()}
                          for place in (0, 1))
    rates = f"{rows / seconds['on']:,.0f} and {rows / seconds['off']:,.0f} rows a second"
    each = f"{1e6 * processor['on'] / rows:.1f} over {1e6 * processor['off'] / rows:.1f} core-µs a row"
    lines = ((f"{what}, processor time ({each})", processor), (f"the same, seconds ({rates})", seconds))
    return [at_most(words, values["on"] / values["off"], GOAL) if goal else
            Figure(words, f"{values['on'] / values['off']:.2f}") for words, values in lines]


def _used() -> float:
    """Processor time of this process, of the one that makes workers, and of the workers that have ended."""
    from kerastl.data import apart
    from kerastl.inputs import isolation

    block = isolation._BLOCKS[0]
    pids = block.team(apart.TASK, "read", "tables").pids if block is not None else []
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15] for pid in pids]
    return time.process_time() + sum(int(ticks) for stat in stats for ticks in stat) / os.sysconf("SC_CLK_TCK")


def _opened(path: Path) -> Iterator[object]:
    from kerastl.data.tables import open_table

    return open_table(path).records(None)


def _records(path: Path) -> None:
    for _ in _opened(path):
        pass


def _rows(count: int) -> tuple[list[str], list[str]]:
    choice = random.Random(0)
    words = ["".join(choice.choices("abcdefghijklmnop", k=choice.randint(2, 9))) for _ in range(5000)]
    texts = [f"{' '.join(choice.choices(words, k=choice.randint(5, 40)))} {i}" for i in range(count)]
    return texts, [choice.choice(("ham", "spam")) for _ in texts]


def _texts(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    texts, labels = _rows(TEXTS)
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), path)
    return path


def _cells(path: Path) -> Path:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (("text", "label"), *zip(*_rows(CELLS), strict=True)):
        sheet.append(row)
    book.save(path)
    return path


def _images(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    files = [Path(path).read_bytes() for path in images.write(folder / "images", IMAGES, 500, 375)]
    table = pyarrow.table({"image": files, "label": ["ab"[place % 2] for place in range(IMAGES)]})
    pyarrow.parquet.write_table(table, folder / "i.parquet")
    return folder / "i.parquet"
