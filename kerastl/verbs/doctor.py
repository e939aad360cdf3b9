"""Diagnose common mistakes in a model, or in what a recipe builds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.doctor.examine import Examination

VERDICT = {True: "ok", False: "WRONG", None: "?"}


@dataclass(frozen=True)
class Config(DataFlags):
    """Diagnose common mistakes in a model, or in what a recipe builds. The exit code is 1 if something is wrong."""

    patient: Annotated[Positional[str], arg(metavar="MODEL_OR_RECIPE")]  # saved_models/NAME, version folder or recipe
    data: str | None = None  # labelled data, as for training (default for a model: the data it was trained on)
    backbone: str | None = None  # for a recipe: backbone to use instead of its own
    weights: str | None = None  # for a recipe's backbone: bundled, imagenet, preset, none (random) or a path
    head: str | None = None  # for a recipe: head to use instead of its own
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "Examination":
    """Every check's finding."""
    from kerastl.rerun.diagnosis import diagnose

    return diagnose(config.patient, data=config.data, backbone=config.backbone, weights=config.weights,
                    head=config.head, options=config.read_options(), data_dir=config.data_dir,
                    cache_dir=config.cache_dir)


def show(result: "Examination") -> str:
    """A line for each check, and the verdict, which counts the checks that were skipped or could not tell."""
    rows = [("check", "", "finding", "how to fix")]
    rows += [(finding.name, VERDICT[finding.ok], finding.finding, finding.advice) for finding in result.findings]
    verdict = f"problems: {', '.join(result.problems)}" if result.failed else "no problems found"
    if result.undecided:
        verdict += (f"; {len(result.undecided)} of {len(result.findings)} checks skipped or inconclusive: "
                    f"{', '.join(result.undecided)} (see above)")
    return f"{table(rows)}\n\n{result.patient}: {verdict}"
