"""Splicing, and the time of a single row."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import draw
from tiny import tiny_backbone

import kerastl as tl
from kerastl.errors import OptionError
from kerastl.heads import resolve_head
from kerastl.model import block_count, single_row_latency


def test_a_single_rows_time_is_the_median_after_a_warm_up(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        draw(path, (200, 60, 60), i)
    items = [str(path) for path in paths]
    whole = tl.splice(backbone, resolve_head("linear").build(backbone.shape, 3))
    assert 0 < single_row_latency(whole, backbone.input, items) < 10_000

    rows: list[tuple[int, ...]] = []

    def features_of(values: Any) -> Any:
        rows.append(tuple(values.shape))
        return backbone.model(values, training=False)

    head = resolve_head("linear").build(backbone.shape, 3)
    for warm_up in (3, 0):
        rows.clear()
        assert single_row_latency(head, backbone.input, items, features_of=features_of, warm_up=warm_up) > 0
        assert rows == [(1, 32, 32, 3)] * (warm_up + 5)
    with pytest.raises(ValueError, match="none of the rows"):
        single_row_latency(whole, backbone.input, [str(tmp_path / "absent.png")])


def test_a_head_of_another_shape_or_of_a_name_that_is_taken_is_not_spliced() -> None:
    backbone = tiny_backbone()
    with pytest.raises(OptionError, match=r"takes features of shape \(5,\)"):
        tl.splice(backbone, resolve_head("linear").build((5,), 3))
    named = keras.Sequential([keras.Input((24,)), keras.layers.Dense(3)], name=backbone.model.name)
    with pytest.raises(OptionError, match="rename the keras.Model"):
        tl.splice(backbone, named)
    model = tl.splice(backbone, keras.Sequential([keras.Input((None,)), keras.layers.Identity()], name="any"))
    images = np.zeros((2, 32, 32, 3), np.float32)
    assert np.array_equal(model(images), backbone.model(images))


@pytest.mark.parametrize("unfreeze", [3, "3", "half", "-1", 1.5])
def test_blocks_that_there_are_not_are_refused(unfreeze: Any) -> None:
    backbone = tiny_backbone()
    assert [block_count(backbone, count) for count in (0, "1", 2, "all")] == [0, 1, 2, 2]
    with pytest.raises(OptionError, match="`unfreeze` is .*\n.*at most 2"):
        block_count(backbone, unfreeze)
