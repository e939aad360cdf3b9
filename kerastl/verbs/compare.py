"""Compare backbones, heads and depths of fine-tuning on the same rows, and recommend one combination."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.heads import parted
from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.studies.compare.study import Comparison


@dataclass(frozen=True)
class Config(DataFlags):
    """Compare backbones, heads and depths of fine-tuning on the same rows, and recommend one combination."""

    source: Positional[str]  # labelled data, as for training
    backbones: str  # names separated by commas, all for images or all for texts; see `kerastl backbones`
    heads: str = "linear"  # heads separated by commas; with settings: linear,mlp:hidden=64,dropout=0.2
    unfreeze: str = "0"  # values separated by commas: numbers of blocks, all, contrast
    seeds: int = 3  # number of seeds; each seed holds out a different fold and uses different initial weights
    out: str = "comparison"  # folder for rows.csv, report.html and rows.jsonl; a killed run resumes from rows.jsonl
    weights: str | None = None  # one for all backbones, or one each: a,b (default: see `kerastl backbones`)
    min_per_class: int = 10  # skip classes with fewer examples
    limit: int | None = None  # use at most N rows (default: all)
    epochs: int | None = None  # maximum number of epochs (default: early stopping decides)
    batch_size: int = 32  # images or texts per batch
    engine: str = "auto"  # what computes features: auto (the fastest on this machine), tensorflow or openvino
    precision: str = "auto"  # auto (float32, as exported), mixed_bfloat16 ...; large: float32, bfloat16, int8, int4
    pickles: bool = False  # large backbones: also read pickled weights (tensors only)
    xla: str = "auto"  # compile with XLA: auto, on or off
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    near_duplicates: str = "auto"  # group (never split), report or off (auto: group, report from a million rows on)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Raises OptionError for flags that cannot be used."""
    from kerastl.studies.compare.combinations import combinations_of

    numbers = ("seeds", "limit", "epochs", "batch_size", "min_per_class", "engine", "precision", "xla")
    combinations_of(*_lists(config), weights=_weights(config), **{name: getattr(config, name) for name in numbers})


def run(config: Config) -> "Comparison":
    """Compare, and write the table and the report."""
    from kerastl.report.comparison import write_comparison
    from kerastl.studies.compare.study import compare
    from kerastl.training.options import TrainingOptions

    comparison = compare(
        config.source, *_lists(config), seeds=config.seeds, out=config.out, weights=_weights(config),
        read_options=config.read_options(), min_per_class=config.min_per_class,
        limit=config.limit, options=TrainingOptions(config.epochs, config.batch_size), engine=config.engine,
        precision=config.precision, pickles=config.pickles, xla=config.xla, data_dir=config.data_dir,
        cache_dir=config.cache_dir, near_duplicates=config.near_duplicates)
    write_comparison(Path(comparison.out), comparison.to_dict())
    return comparison


def show(result: "Comparison") -> str:
    """The table, the recommendation, and its test accuracy."""
    rows = [("backbone", "head", "unfreeze", "validation", "over seeds", "behind", "p", "training", "size", "latency")]
    rows += [(row.combination.backbone, row.combination.head, row.combination.unfreeze, f"{row.accuracy:.3f}",
              f"{row.accuracy_min:.3f} to {row.accuracy_max:.3f}",
              "best" if row.p is None else f"{100 * row.behind_best:.1f} pt",
              "" if row.p is None else "<0.001" if row.p < 0.001 else f"{row.p:.3f}",
              f"{row.head_seconds:.1f} s", f"{row.cost.bytes / 1e6:.1f} MB",
              f"{row.cost.milliseconds:.1f} ms" + " *" * row.recommended) for row in result.table]
    test, lines = result.test, []
    if result.random_weights:
        lines.append(f"RANDOM WEIGHTS ({', '.join(result.random_weights)}): these figures say nothing about transfer "
                     "learning")
    lines += [f"the weights of {name} are stored in {kept}" for name, kept in result.kept.items()]
    if result.resumed:
        lines.append(f"{result.resumed} of {result.cells} results were read from {result.out}")
    low, high = test.accuracy_ci95
    return "\n".join([*lines, table(rows), "* recommended", "", result.sentence,
                      f"test accuracy of {result.recommended}: {test.accuracy:.3f}  (95% CI {low:.3f} to {high:.3f}; "
                      f"{test.interval})", f"written    {result.out}/rows.csv, report.html"])


def _lists(config: Config) -> tuple[list[str], list[str], list[str]]:
    return config.backbones.split(","), parted(config.heads), config.unfreeze.split(",")


def _weights(config: Config) -> list[str]:
    return config.weights.split(",") if config.weights else []
