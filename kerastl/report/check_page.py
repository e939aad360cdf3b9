"""The page of `kerastl check`: its findings with thumbnails or texts, in one file that needs no network."""

from pathlib import Path

from kerastl.audit.check import CheckResult
from kerastl.files import write_atomically
from kerastl.modality import modality_named
from kerastl.report.label_errors import label_errors_section
from kerastl.report.page import page
from kerastl.report.report import thumbnail

MOST = 200  # thumbnails on a page


def write_check_page(path: Path, result: CheckResult) -> None:
    """Write the findings as one HTML page."""
    write_atomically(path, check_page(result))


def check_page(result: CheckResult) -> str:
    """The findings as one HTML page."""
    modality, left, shown = modality_named(result.modality), MOST, []
    suspects = label_errors_section(result.label_errors, None, modality.nouns, result.source, lambda place, _: {
        "thumbnail": thumbnail(result.label_error_items[place]) if modality.in_files else "",
        "text": "" if modality.in_files else result.label_error_items[place]}, most=MOST)
    for finding in result.findings:
        if finding.kind == "label errors":  # they have a section of their own
            continue
        items = list(finding.items[:left] if modality.in_files else finding.items)
        left -= len(items) * modality.in_files
        pictures = [thumbnail(str(item)) if modality.in_files else "" for item in items]
        texts = ["" if modality.in_files else str(item) for item in items]
        previews = list(zip(pictures, texts, finding.examples, strict=False))
        shown.append({"finding": finding, "previews": previews, "others": finding.examples[len(previews):]})
    return page("check.html", result=result, modality=modality, findings=shown, label_errors=suspects,
                split=f"{result.data_summary.split}: " + ", ".join(
                    f"{name} {n:,}" for name, n in result.data_summary.parts.items())
                if result.data_summary.split else "")
