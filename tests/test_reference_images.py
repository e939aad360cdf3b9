"""The client's decoder equals the graph's within one level at every pixel, for all that it accepts."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import SIDE, decoded_alike, exif, jpeg, made, refused, save, scene, see_through, unusual
from PIL import Image

from kerastl.export import reference_images
from kerastl.inputs import images

ROOT = Path(__file__).parent.parent
MADE, REFUSED = made() | unusual(), refused()


def without_adobe(data: bytes) -> bytes:
    """A JPEG without the segment in which Adobe says how inks are stored."""
    place = data.index(b"\xff\xee")
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2:place + 4], "big"):]


def client(data: bytes, size: int) -> Any:
    try:
        return reference_images.pixels(data, size)
    except ValueError as error:
        return str(error)


def check_equal(data: bytes, size: int = SIDE) -> None:
    graph, ours = decoded_alike(data, size), client(data, size)
    if isinstance(graph, str):
        assert isinstance(ours, str), f"the graph refuses it: {graph}"
    elif not isinstance(ours, str):
        assert graph.shape == ours.shape and ours.dtype == np.uint8
        assert np.abs(graph.astype(int) - ours).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_every_kind_is_accepted_and_equal(name: str) -> None:
    assert not isinstance(client(MADE[name], SIDE), str)
    check_equal(MADE[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_refuses_the_client_refuses(name: str) -> None:
    reason = client(REFUSED[name][0], SIDE)
    assert isinstance(reason, str) and reason


@pytest.mark.slow
@pytest.mark.parametrize(("start", "name"), [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1", "AVIF"),
    (b"\0\0\0\x1cftypavif", "AVIF"), (b"\xff\x0a\xfa", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"), (b"II*\0\x08\0\0\0", "TIFF"), (b"%PDF-1.7", "PDF"),
    (b"\0\0\0\x18ftypisom", "MP4"), (b"<svg xmlns=", "SVG")])
def test_another_format_is_refused_by_its_name_by_both(start: bytes, name: str) -> None:
    data = start + bytes(80)
    assert name in decoded_alike(data, SIDE) and f"{name}" in client(data, SIDE) and "convert it" in client(data, SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("data", [
    pytest.param(without_adobe(jpeg(Image.fromarray(scene()).convert("CMYK"))), id="cmyk without Adobe's mark"),
    pytest.param(save(Image.fromarray(see_through()), "WEBP", lossless=True, exif=exif(5)), id="webp alpha, turned"),
    pytest.param(save(Image.fromarray(scene(5, 9)), "PNG", exif=exif(6)), id="png turned"),
])
def test_what_clients_often_get_wrong_is_equal(data: bytes) -> None:
    assert not isinstance(client(data, SIDE), str)
    check_equal(data)


@st.composite
def image_file(draw: st.DrawFn) -> bytes:
    """An image of any size up to 4000, in any mode and container, with any orientation."""
    side = st.integers(1, 80) | st.sampled_from([SIDE, 2 * SIDE, 333, 1999, 4000])
    height, width = draw(side), draw(side)
    if height * width > 400_000:
        width = draw(st.integers(1, 80))
    mode = draw(st.sampled_from(["RGB", "L", "RGBA", "LA", "P", "1", "I;16", "CMYK"]))
    noise = np.random.default_rng(height * 4001 + width)
    pixels = scene(height, width) if draw(st.booleans()) else noise.integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        alpha = noise.integers(0, 256, (height, width, 1), np.uint8) if draw(st.booleans()) else np.full(
            (height, width, 1), 255, np.uint8)
        image = Image.fromarray(np.dstack([pixels, alpha])).convert(mode)
    elif mode == "I;16":
        image = Image.fromarray(noise.integers(0, 65536, (height, width)).astype(np.uint16))
    elif mode == "P":
        image = image.quantize(draw(st.sampled_from([2, 4, 16, 100, 256])))
    else:
        image = image.convert(mode)
    kinds = {"P": ["PNG", "GIF"], "I;16": ["PNG"], "CMYK": ["JPEG"], "RGBA": ["PNG", "WEBP", "BMP"], "LA": ["PNG"],
             "1": ["PNG"], "L": ["PNG", "JPEG", "GIF"], "RGB": ["PNG", "JPEG", "WEBP", "BMP"]}
    kind = draw(st.sampled_from(kinds[mode]))
    options: dict[str, Any] = {}
    if mode == "P" and draw(st.booleans()):
        options["transparency"] = draw(st.integers(0, 1))
    if mode == "L" and kind == "PNG" and draw(st.booleans()):
        options["transparency"] = int(np.asarray(image)[0, 0])
    if kind in ("PNG", "JPEG", "WEBP"):
        block = exif(draw(st.integers(0, 9)), draw(st.booleans()))
        options["exif"] = block
    if kind == "JPEG":
        options |= {"quality": draw(st.integers(30, 100)), "progressive": draw(st.booleans()),
                    "subsampling": draw(st.integers(0, 2))}
    if kind == "WEBP":
        options["lossless"] = draw(st.booleans())
    data = save(image, kind, **options)
    return without_adobe(data) if mode == "CMYK" and draw(st.booleans()) else data


@pytest.mark.slow
@settings(derandomize=True, deadline=None, database=None, max_examples=150)
@given(data=image_file())
def test_any_image_is_accepted_and_equal(data: bytes) -> None:
    assert not isinstance(client(data, SIDE), str)
    check_equal(data)


def test_a_16_bit_png_with_a_transparent_colour_is_refused() -> None:
    from image_files import chunk, png_by_hand

    hole = chunk(b"tRNS", struct.pack(">HHH", *(int(level) * 257 for level in scene()[0, 0])))
    data = png_by_hand([row.tobytes() for row in scene().astype(">u2") * 257], depth=16, colour=2, extra=hole)
    assert "transparent colour" in client(data, SIDE)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 32), (7, 29), (64, 96), (285, 9), (999, 77), (33, 33)])
def test_a_resized_image_is_the_graphs_to_the_last_bit(height: int, width: int) -> None:
    # Many of its values lie halfway between two levels; rounded otherwise, they would move the probabilities.
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert np.array_equal(reference_images.resize(noise, SIDE), images.resize(noise, SIDE))


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_images, "MAX_SCANS", 2 * 48 * 80)
    whole = jpeg(Image.fromarray(scene(48, 80)), progressive=True)
    place = whole.rindex(b"\xff\xda")
    loaded = []
    monkeypatch.setattr(Image.Image, "load", lambda image: loaded.append(image))
    assert "too many scans" in client(whole[:-2] + 9 * whole[place:-2] + whole[-2:], SIDE) and not loaded


def test_the_client_of_the_docs_is_the_module_that_is_shipped() -> None:
    assert (ROOT / "docs/tflite_client.py").read_bytes() == Path(reference_images.__file__).read_bytes()
