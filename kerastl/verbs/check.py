"""Inspect a dataset: lost rows, odd classes, duplicates, leakage and likely label errors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.audit.check import CheckResult

MARKS = {"error": "ERROR", "warning": "WARNING", "info": "info"}


@dataclass(frozen=True)
class Config(DataFlags):
    """Inspect a dataset: lost rows, odd classes, duplicates, leakage and likely label errors."""

    source: Positional[str]  # labelled data, as for training
    backbone: str | None = None  # used to find likely label errors; none skips that (default: the bundled one)
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    html: str | None = None  # also write the findings to this page, with thumbnails or texts
    fixes: str | None = None  # also write the possible label errors to this new .csv, to edit for --relabel
    strict: bool = False  # exit code 1 if there is an error or a warning
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "CheckResult":
    """Inspect the source."""
    from kerastl.audit.check import check
    from kerastl.audit.fixes import fixes_file, write_fixes
    from kerastl.report.check_page import write_check_page
    from kerastl.report.page import page_file

    page = None if config.html is None else page_file(config.html)  # fails before the work
    fixes = None if config.fixes is None else fixes_file(config.fixes)
    result = check(config.source, backbone=config.backbone, weights=config.weights, options=config.read_options(),
                   data_dir=config.data_dir, cache_dir=config.cache_dir)
    if page is not None:
        write_check_page(page, result)
    if fixes is not None:
        write_fixes(fixes, result)
    return result


def show(result: "CheckResult") -> str:
    """What was understood, the classes, and the findings with their first examples."""
    from kerastl.modality import modality_named

    noun = modality_named(result.modality).nouns
    summary = result.data_summary
    lines = [f"{result.source}: {result.rows} {noun}, {len(result.counts)} classes",
             *result.reading]
    if summary.split:
        lines.append(f"{summary.split}: {', '.join(f'{name} {n:,}' for name, n in summary.parts.items())}")
    lines += ["", table([("class", noun), *((name, str(n)) for name, n in result.counts.items())]), ""]
    for finding in result.findings:
        alone = finding.kind == "lost rows" or not finding.examples
        count = "" if finding.count == 1 and alone else f": {finding.count:,}"
        lines.append(f"{MARKS[finding.severity]}: {finding.title}{count}")
        lines += [f"  {example}" for example in finding.examples]
        if finding.examples and finding.count > len(finding.examples) and finding.kind != "lost rows":
            lines.append(f"  and {finding.count - len(finding.examples):,} more")
        lines += [f"  to fix: {finding.fix}"] * bool(finding.fix)
    lines.append(f"possible label errors: {result.label_errors.sentence}")
    lines += [result.label_errors.caution] * bool(result.label_errors.caution)
    if not result.findings:
        lines.append("nothing found")
    return "\n".join(lines)
