"""Measure how accuracy grows with the number of labels, and how many more an accuracy would take."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.versions.learning_curve import LearningCurve


@dataclass(frozen=True)
class Config(DataFlags):
    """Measure how accuracy grows with the number of labels, and predict how many more labels an accuracy would take."""

    source: Positional[str]  # labelled data, as for training
    target_accuracy: float | None = None  # accuracy to reach, such as 0.9 (default: a quarter fewer errors than now)
    repeats: int = 2  # rounds in which every row measures once; more narrow the intervals
    html: str | None = None  # also write the chart and the figures to this page
    backbone: str | None = None  # see `kerastl backbones` (default: the bundled one)
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    layer: str = "top"  # feature layer of the backbone; see `kerastl backbones`
    pooling: str = "mean"  # texts: pooling of token states: mean, cls, last or pooled
    max_length: int | None = None  # texts: maximum tokens per text (default: the 99th percentile of token counts)
    long: str = "head"  # longer texts: head or head+tail (truncate), or chunks (average over windows)
    min_per_class: int = 10  # skip classes with fewer examples
    limit: int | None = None  # use at most N rows (default: all)
    near_duplicates: str = "auto"  # group (never split), report or off (auto: group, report from a million rows on)
    batch_size: int = 32  # images or texts per batch
    engine: str = "auto"  # what computes features: auto (the fastest on this machine), tensorflow or openvino
    precision: str = "auto"  # auto, float32, mixed_bfloat16, mixed_float16; large: float32, bfloat16, int8, int4
    pickles: bool = False  # large backbones: also read pickled weights (tensors only)
    xla: str = "auto"  # compile with XLA: auto, on or off
    seed: int = 0  # which rows are in which subset
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "LearningCurve":
    """Measure the curve, and write its page."""
    from kerastl.report.learning_curve import write_curve_page
    from kerastl.report.page import page_file
    from kerastl.studies.learning_curve.of_source import learning_curve_of

    page = None if config.html is None else page_file(config.html)  # fails before the work
    others = {"json", "html", *DataFlags.__dataclass_fields__}
    arguments = {name: value for name, value in vars(config).items() if name not in others}
    curve = learning_curve_of(**arguments, options=config.read_options())
    if page is not None:
        write_curve_page(page, config.source, curve)
    return curve


def show(result: "LearningCurve") -> str:
    """The measured and the predicted accuracies, the check, the classes, and the answer."""
    lines = [result.scope]
    for title, sizes in (("measured", result.measured), ("predicted", result.predicted)):
        if sizes:
            rows = [(result.nouns, f"accuracy, {title}", "80% interval")]
            rows += [(f"{size.rows:,}", f"{size.accuracy:.3f}", "{:.3f} to {:.3f}".format(*size.accuracy_ci80))
                     for size in sizes]
            lines += ["", table(rows)]
    if result.classes:
        classes = [("class", result.nouns, "recall", f"gain with twice the {result.nouns} (80% interval)")]
        classes += [(one.name, f"{one.rows:,}", f"{one.recall:.3f}", "{:+.1f} points ({:+.1f} to {:+.1f})".format(
            *(100 * value for value in (one.gain, *one.gain_ci80)))) for one in result.classes]
        lines += ["", table(classes), ""]
    if result.hidden:
        lines += [result.hidden.sentence]
    return "\n".join([*lines, *filter(None, [result.class_sentence, result.twice, result.sentence])])
