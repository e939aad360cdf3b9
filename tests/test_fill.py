"""What the cache lacks is computed once, each row under its own key; rows that do not decode are named."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import KEY, known_rows, made_examples

from kerastl.data.examples import Examples
from kerastl.features import fill as fill_module
from kerastl.features.cache import Space
from kerastl.features.fill import Filled, fill, missing

Places = Iterable[tuple[Sequence[int], np.ndarray]]


def test_rows_lie_under_their_keys_and_duplicates_and_known_rows_are_not_computed(tmp_path: Path) -> None:
    examples = made_examples(np.arange(12) % 2)
    keys = [*examples.ids[:10], examples.ids[2], examples.ids[3]]  # rows 10 and 11 are rows 2 and 3 again
    examples = replace(examples, items=tuple(keys))
    space, asked = Space(tmp_path, KEY), []
    space.append(keys[:1], known_rows(keys[:1]))

    def compute(some: Examples, refused: dict[int, str], progress: Callable[[int], object]) -> Places:
        items = some.items
        asked.extend(items)
        for places in ([2, 0], [4]):  # in batches of any order; rows 3 and 5 of the data do not decode
            yield places, known_rows([items[place] for place in places])
        refused |= {1: "torn", 3: "empty"}

    assert missing(space, keys, range(1, 12)).tolist() == list(range(1, 10))
    rows = [11, 10, 1, 5, 2, 3, 0, 4]  # computed: 11 (for 3 too), 10 (for 2 too), 1, 5 and 4
    filled = fill(space, examples, keys, rows, compute, description="a test")
    assert asked == [keys[row] for row in (11, 10, 1, 5, 4)]
    assert filled == Filled(3, {10: "torn", 2: "torn", 5: "empty"})
    stored = [keys[row] for row in (4, 3, 1, 0)]
    assert np.array_equal(space.gather(stored), known_rows(stored))
    assert keys[2] not in space and keys[5] not in space and keys[6] not in space
    assert fill(space, examples, keys, [0, 11, 4], compute, description="a test") == Filled(0, {})


@pytest.mark.parametrize(("rows", "size"), [(4, 10**9), (10**9, 4 * KEY.row_bytes)])
def test_a_segment_is_written_as_soon_as_it_is_large(rows: int, size: int, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill_module, "SEGMENT_ROWS", rows)
    monkeypatch.setattr(fill_module, "SEGMENT_BYTES", size)
    examples = made_examples(np.arange(11) % 2)
    space = Space(tmp_path, KEY)

    def compute(some: Examples, refused: dict[int, str], progress: Callable[[int], object]) -> Places:
        for place in range(0, 11, 2):
            places = range(place, min(place + 2, 11))
            yield places, known_rows([examples.ids[i] for i in places])
            if place == 4:
                assert len(list(space.folder.glob("*.rows.npy"))) == 1  # 4 of 6 rows; a kill would lose the last 2

    assert fill(space, examples, examples.ids, range(11), compute, description="a test").computed == 11
    assert len(list(space.folder.glob("*.rows.npy"))) == 3
    assert np.array_equal(space.gather(examples.ids), known_rows(examples.ids))
    sizes = sorted(len(np.load(path)) for path in space.folder.glob("*.rows.npy"))
    assert sizes == [3, 4, 4]
