"""The page of `kerastl drift`."""

from pathlib import Path
from typing import Any

from kerastl.audit.drift import Drift
from kerastl.files import write_atomically
from kerastl.modality import Modality
from kerastl.report.page import page
from kerastl.report.report import excerpt, thumbnail


def write_drift_page(path: Path, result: Drift, modality: Modality) -> None:
    """Write the result as one HTML page."""
    previews = [{"new": new, **_preview(item, modality)}
                for new, item in zip(result.newest, result.items, strict=False)]
    write_atomically(path, page("drift.html", result=result, modality=modality, previews=previews))


def _preview(item: Any, modality: Modality) -> dict[str, str]:
    """item: a path or a text; of a log, the bytes of one."""
    if not modality.in_files:
        text = item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        return {"thumbnail": "", "text": excerpt(text)}
    return {"thumbnail": thumbnail(item if isinstance(item, bytes) else str(item)), "text": ""}
