"""Choose which images or texts to label next, and simulate whether that pays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from kerastl.display import visible_cell
from kerastl.modality import modality_named
from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.studies.label_next.result import LabelNextResult, Proposal

SHOWN, WIDTH = 20, 60  # proposals, and characters of each, that are printed
Pool = Annotated[Positional[str | None], arg(metavar="[UNLABELLED]", help_behavior_hint="")]


@dataclass(frozen=True)
class Config(DataFlags):
    """Choose which images or texts to label next, and simulate whether that pays."""

    source: Positional[str]  # labelled data, as for training, however few; none if there are none
    unlabelled: Pool = None  # a folder, a table or tfds:NAME; may also hold the labelled ones
    n: int = 20  # how many to label
    out: str = "to_label.csv"  # new table to fill in; training reads it as labelled data
    html: str | None = None  # also write this page with thumbnails or texts (default: beside the table)
    with_labelled: bool = False  # also write the labelled rows, below the new ones: the table is then the whole data
    simulate: bool = False  # compare with drawing at random, on the labels of SOURCE; UNLABELLED is optional then
    repeats: int = 4  # of the simulation: how often the labelled rows are divided into thirds, each held out once
    backbone: str | None = None  # whose features are compared (default: the bundled one)
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    layer: str = "top"  # feature layer of the backbone; see `kerastl backbones`
    pooling: str = "mean"  # texts: pooling of token states: mean, cls, last or pooled
    max_length: int | None = None  # texts: maximum tokens per text (default: the 99th percentile of token counts)
    long: str = "head"  # longer texts: head or head+tail (truncate), or chunks (average over windows)
    unlabelled_column: str | None = None  # column of the texts or paths in UNLABELLED (default: as in SOURCE)
    mirrored: bool = False  # whether mirror images are near-duplicates
    seed: int = 0  # of what is drawn at random
    batch_size: int = 32  # images or texts per batch
    engine: str = "auto"  # what computes features: auto (the fastest on this machine), tensorflow or openvino
    precision: str = "auto"  # auto, float32, mixed_bfloat16, mixed_float16; large: float32, bfloat16, int8, int4
    pickles: bool = False  # large backbones: also read pickled weights (tensors only)
    xla: str = "auto"  # compile with XLA: auto, on or off
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Raises OptionError or DataError for flags that cannot be used."""
    from pathlib import Path

    from kerastl.data.folders import no_source
    from kerastl.files import is_remote
    from kerastl.studies.label_next.arguments import check_arguments

    check_arguments(_labelled(config), config.unlabelled, config.n, config.simulate, config.repeats)
    pool = config.unlabelled
    if pool is not None and not pool.startswith("tfds:") and not is_remote(pool) \
            and not Path(pool).exists():
        raise no_source(pool)


def run(config: Config) -> "LabelNextResult":
    """Choose, and write the table and the page."""
    from kerastl.report.label_next import label_next_files, write_label_next
    from kerastl.studies.label_next.propose import label_next

    out, html = _files(config)
    label_next_files(out, html)  # fails before the work
    others = {"json", "source", "simulate", "out", "html", "with_labelled", *DataFlags.__dataclass_fields__}
    arguments = {name: value for name, value in vars(config).items() if name not in others}
    result = label_next(_labelled(config), simulate=config.simulate, options=config.read_options(), **arguments)
    return write_label_next(result, out, html, with_labelled=config.with_labelled)


def show(result: "LabelNextResult") -> str:
    """What was read, whether the strategy pays, the first proposals, and where they were written."""
    from kerastl.studies.label_next.result import simulation_lines

    lines = [*result.lines, *result.notes]
    lines += result.skipped_lines
    if simulation := result.simulation:
        rows = [("labels", "chosen", "at random", "difference, points (95% CI)")]
        rows += [(str(each.labels), f"{each.strategy:.3f}", f"{each.random:.3f}",
                  f"{100 * each.gain:+.1f} ({100 * each.gain_ci95[0]:+.1f} to {100 * each.gain_ci95[1]:+.1f})")
                 for each in simulation.rounds]
        lines += ["", table(rows), *simulation_lines(simulation)]
    if result.proposals:
        rows = [("", "to label", "suggested", "reason")]
        rows += [(str(rank), _short(row, result.modality), row.suggested, row.reason) for rank, row in
                 enumerate(result.proposals[:SHOWN], 1)]
        rest = len(result.proposals) - SHOWN
        lines += ["", table(rows), *[f"and {rest:,} more"] * (rest > 0)]
    files = [name for name in (result.out, result.html) if name]
    lines += [f"written    {', '.join(files)}"] * bool(files)
    if result.out:
        lines.append(f"Fill in the column label of {result.out}, then train on it, or name it as SOURCE for the next "
                     "round.")
    return "\n".join(lines)


def _short(proposal: "Proposal", modality: str) -> str:
    """The name of an image, or the beginning of a text, in one line."""
    item = proposal.item if isinstance(proposal.item, str) else " | ".join(proposal.item)
    line = visible_cell(proposal.origin if modality_named(modality).in_files else " ".join(item[:2 * WIDTH].split()))
    return line if len(line) <= WIDTH else f"{line[:WIDTH - 1]}…"


def _labelled(config: Config) -> str | None:
    return None if config.source == "none" else config.source


def _files(config: Config) -> tuple[str | None, str | None]:
    """The table and the page; neither by default where nothing is proposed."""
    if config.unlabelled is None:
        return None, config.html
    return config.out, config.html or f"{config.out.removesuffix('.csv')}.html"
