"""The report's section on near-duplicates: what was found, what it changes, and the pairs nearest to the threshold."""

from collections.abc import Callable, Mapping
from typing import Any

from kerastl.data.examples import Examples
from kerastl.versions.record import RunRecord

Preview = Callable[[Examples, int | None], dict[str, Any]]
SHOWN = 6  # pairs on either side of the threshold
REJECTED = 0.5  # of the threshold: less similar pairs say nothing about it


def near_duplicates_context(record: RunRecord, examples: Examples, preview: Preview) -> Mapping[str, Any]:
    """What near_duplicates.html shows. examples: those of the report; rows that were skipped as near-duplicates are
    looked up among the examples before."""
    duplicates = record.near_duplicates
    if duplicates is None:
        return {"duplicates": None, "duplicate_pairs": []}
    found = examples.near_duplicate_search
    everything: Examples = found.plain if found and found.plain is not None else examples
    wanted = {origin for pair in duplicates.pairs for origin in pair.origins}
    place = {origin: row for row, origin in enumerate(everything.origins) if origin in wanted}
    near = [pair for pair in duplicates.pairs if pair.grouped][:SHOWN]
    apart = [pair for pair in duplicates.pairs
             if not pair.grouped and pair.similarity >= REJECTED * duplicates.threshold][:SHOWN]
    return {"duplicates": duplicates, "duplicate_pairs": [
        {"pair": pair, "previews": [preview(everything, place.get(origin)) for origin in pair.origins]}
        for pair in (*near, *apart)]}
