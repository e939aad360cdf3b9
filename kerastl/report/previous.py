"""What the report and the page of `kerastl evaluate` say about an earlier version on the same rows."""

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from kerastl.report.page import fragment
from kerastl.versions.version_comparison import ChangedRow, VersionComparison

SHOWN = 12  # rows that only the earlier version predicts correctly


def previous_section(compared: VersionComparison | None, preview: Callable[[ChangedRow], dict[str, Any]]) -> Markup:
    """A section of the page; nothing where there is no other version. preview: the thumbnail or the text of a row."""
    if compared is None:
        return Markup("")
    changed = [{"row": row, **preview(row)} for row in compared.changed[:SHOWN]]
    return fragment("previous.html", compared=compared, changed=changed, rest=compared.broken - len(changed))
