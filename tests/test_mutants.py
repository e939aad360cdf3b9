"""Damaged images: each gives pixels or a reason in words, and none ends the process or takes its memory."""

import resource
from functools import partial

import numpy as np
import pytest
from image_files import decoded_alike
from mutants import SLANG, image_mutants

SIDE = 32
MEGABYTES = 1500  # more than the limits of the decoder let a file take


@pytest.mark.slow
def test_a_hundred_damaged_images_give_pixels_or_a_reason_in_words() -> None:
    decode = partial(decoded_alike, size=SIDE)
    kinds = set()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in image_mutants(200):
        result = decode(data)
        kinds.add(type(result))
        if isinstance(result, str):
            assert result.strip() and not SLANG.search(result) and len(result) < 200, f"{name}: {result}"
        else:
            assert result.shape == (SIDE, SIDE, 3) and result.dtype == np.uint8, name
    assert kinds == {str, np.ndarray}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024


def test_the_mutants_are_the_same_each_time_and_none_is_the_image_itself() -> None:
    assert list(image_mutants(50, 3)) == list(image_mutants(50, 3)) != list(image_mutants(50, 4))
    assert len({data for _, data in image_mutants(200)}) > 190


def test_slang_is_recognised() -> None:
    assert SLANG.search("jpeg::Uncompress failed. Invalid JPEG data or crop window.")
    assert SLANG.search("Number of channels requested does not match input")
    assert not SLANG.search("the PNG file is damaged or incomplete; restore it from the original")
