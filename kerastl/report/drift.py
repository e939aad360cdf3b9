"""`kerastl drift`: the tests, and the page if one is asked for."""

from collections.abc import Sequence
from typing import Any

from kerastl.audit.drift import Drift, find_drift
from kerastl.report.drift_page import write_drift_page
from kerastl.report.page import page_file
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord


def drift(model: str, inputs: Sequence[str], *, out: str | None = None, **more: Any) -> Drift:
    """Compare inputs with the rows that a model was evaluated on, see `find_drift`. out: also write a page."""
    file = None if out is None else page_file(out, "out")
    result = find_drift(model, inputs, **more)
    if file is not None:
        write_drift_page(file, result, RunRecord.read(find_version(model)).modality)
    return result
