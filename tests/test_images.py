"""The one decoder: Pillow's pixels for every kind it reads, a reason for every kind it does not, and never a crash."""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import (
    SIDE,
    after_segments,
    chunk,
    decoded_alike,
    exif,
    grey_png,
    jpeg,
    made,
    reference,
    refused,
    save,
    scene,
    see_through,
    unusual,
    webp_canvas,
)
from numpy.typing import NDArray
from PIL import Image

from kerastl.inputs import images
from kerastl.inputs.batches import content_hash, decode_file, pixel_batches
from kerastl.inputs.keys import keys_of
from kerastl.inputs.pixels import Pixels
from kerastl.inputs.quick import _on_white as quick_on_white
from kerastl.inputs.quick import quick_pixels

MADE, REFUSED = made(), refused()
FLAT = {name: data for name, data in MADE.items() if name != "jpeg one pixel"}  # all of one size, SIDE
# In levels of 255. Both decoders use libjpeg's accurate inverse DCT, so JPEGs are equal.
JPEG, OTHER = 0, 1
quick = settings(derandomize=True, deadline=None, database=None)


def decoded(data: bytes, size: int = SIDE) -> NDArray[np.uint8]:
    """The pixels; fails the test where there is a reason instead."""
    found = decoded_alike(data, size)
    assert not isinstance(found, str), found
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    return found


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The largest, in levels."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def weights(n: int, size: int) -> NDArray[np.float64]:
    """[size, n]: what each of `size` pixels takes of each of n: their overlap where it shrinks, else bilinear."""
    to, place = np.arange(size)[:, None], np.arange(n)
    if n >= size:
        low, high = np.maximum(to * n / size, place), np.minimum((to + 1) * n / size, place + 1)
        return (high - low).clip(0) * size / n
    return (1 - np.abs(((to + 0.5) * n / size - 0.5).clip(0, n - 1) - place)).clip(0)


def squashed(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """What `images.resize` should make of it, in NumPy."""
    height, width, _ = pixels.shape
    square = np.einsum("yh,hwc,xw->yxc", weights(height, size), pixels.astype(float), weights(width, size))
    return square.round().clip(0, 255).astype(np.uint8)


# Images that are read


@pytest.mark.slow
@pytest.mark.parametrize("name", FLAT)
def test_pixels_are_those_of_pillow(name: str) -> None:
    expected = reference(FLAT[name])
    assert np.ptp(expected) > 100  # an image, not one colour
    assert difference(decoded(FLAT[name]), expected) <= (JPEG if name.startswith("jpeg") else OTHER)


@pytest.mark.slow
@pytest.mark.parametrize("name", unusual())
def test_unusual_files_have_pillows_pixels(name: str) -> None:
    data = unusual()[name]
    opaque = data if "bmp 32" not in name else save(Image.fromarray(see_through()[..., :3]), "BMP")
    assert difference(decoded(data), squashed(reference(opaque), SIDE)) <= (JPEG if name.startswith("jpeg") else OTHER)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("with_hole", [False, True])
def test_grey_png_of_few_bits(depth: int, with_hole: bool) -> None:
    levels = scene()[..., 0] >> (8 - depth)
    most = 2**depth - 1
    expected = np.repeat((levels[..., None] * (255 // most)), 3, axis=-1)
    hole = int(levels[0, 0]) if with_hole else None
    if with_hole:
        assert hole != most  # white on white would not tell
        expected[levels == hole] = 255
    assert difference(decoded(grey_png(levels, depth, hole)), expected) <= OTHER


@pytest.mark.slow
@pytest.mark.parametrize("big_endian", [False, True], ids=["little endian", "big endian"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_stands_upright(orientation: int, big_endian: bool) -> None:
    image = Image.fromarray(scene(48, 80))
    plain, data = jpeg(image), jpeg(image, exif=exif(orientation, big_endian))
    expected = squashed(reference(data), SIDE)
    if orientation > 1:
        assert difference(expected, decoded(plain)) > 60  # unturned, it would be seen
    assert difference(decoded(data), expected) <= JPEG


@pytest.mark.parametrize("data", [
    pytest.param(after_segments(jpeg(exif=exif(6)), 2, 60_000), id="after long comments"),
    pytest.param(after_segments(jpeg(exif=exif(6)), 40, 5), id="after many short comments"),
    pytest.param(jpeg(exif=exif(6, entries_before=30)), id="late in a long directory"),
    pytest.param(jpeg(exif=exif(6), progressive=True), id="in a progressive JPEG"),
])
def test_an_orientation_is_found(data: bytes) -> None:
    assert difference(decoded(data), reference(data)) <= JPEG


@pytest.mark.parametrize("block", [
    pytest.param(exif(0), id="of 0"), pytest.param(exif(9), id="of 9"), pytest.param(exif(6)[:20], id="cut"),
    pytest.param(exif(6)[:10] + struct.pack("<I", 2**31 + 5) + exif(6)[14:], id="far outside"),
    pytest.param(exif(1)[:14] + b"\xff\xff", id="among entries that are not there"),
])
def test_a_damaged_orientation_is_none(block: bytes) -> None:
    plain = jpeg()
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    np.testing.assert_array_equal(decoded(plain[:2] + segment + plain[2:]), decoded(plain))


@pytest.mark.parametrize("alpha_flag", [0, 0x10])
def test_an_extended_webp_says_itself_whether_it_has_alpha(alpha_flag: int) -> None:
    # A lossy still without alpha decodes whatever its canvas claims; its colours must not be blended away.
    data = webp_canvas(MADE["webp lossy"], alpha_flag)
    assert difference(decoded(data), reference(MADE["webp lossy"])) <= OTHER


# Size


@pytest.mark.slow
@settings(quick, max_examples=60)
@given(height=st.integers(1, 150), width=st.integers(1, 150))
def test_any_size_is_squashed_by_area_or_bilinearly(height: int, width: int) -> None:
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found, expected = decoded(save(Image.fromarray(pixels), "PNG")), squashed(pixels, SIDE)
    assert difference(found, expected) <= OTHER
    assert abs((found.astype(int) - expected).mean()) < 0.05  # rounded, not cut off


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 20_000), (20_000, 1), (3, 65_000), (SIDE, 1), (1, SIDE)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_wild_sizes(height: int, width: int, kind: str) -> None:
    image = Image.fromarray(scene(height, width))
    data = save(image, kind)
    assert difference(decoded(data), squashed(reference(data), SIDE)) <= JPEG


# Images that are not


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name: str) -> None:
    data, words = REFUSED[name]
    found = decoded_alike(data, SIDE)
    assert isinstance(found, str) and words in found
    assert len(found) < 200 and found.isprintable()


@pytest.mark.parametrize(("width", "reason"), [(10_000, ""), (10_001, "more than 100 megapixels: resize it")])
def test_the_header_alone_tells_100_megapixels(width: int, reason: str) -> None:
    png = MADE["png rgb"]
    head = png[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, 10_000, 8, 2, 0, 0, 0))
    assert images.refusal(tf.constant(head)).numpy().decode() == reason


# One decoder


@pytest.fixture(scope="module")
def in_graph() -> Callable[[tf.Tensor], tf.Tensor]:
    """`decode` inside a function with string input, as the exported model calls it."""
    return tf.function(lambda data: images.decode(data, SIDE), input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_eager_graph_and_decoder_agree(name: str, in_graph: Callable[[tf.Tensor], tf.Tensor]) -> None:
    data = tf.constant(MADE[name])
    eager, graph = images.decode(data, SIDE).numpy(), in_graph(data).numpy()
    np.testing.assert_array_equal(eager, graph)
    np.testing.assert_array_equal(decoded(MADE[name]), graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_the_graph_refuses_with_the_decoders_reason(name: str, in_graph: Callable[[tf.Tensor], tf.Tensor]) -> None:
    data, words = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        in_graph(tf.constant(data))
    assert words in str(raised.value) or words == "could not be decoded"


@pytest.mark.slow
def test_a_batch_in_the_graph_is_each_alone() -> None:
    found = images.decode_batch(tf.constant(list(MADE.values())), SIDE)
    np.testing.assert_array_equal(found, np.stack([decoded(data) for data in MADE.values()]))


# Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Good and bad files mixed, and one that is not there."""
    folder, paths = tmp_path_factory.mktemp("mixed"), []
    contents = list(MADE.items()) + [(name, data) for name, (data, _) in REFUSED.items()]
    for number, place in enumerate(np.random.default_rng(0).permutation(len(contents))):
        paths.append(folder / f"{number} {contents[place][0].replace('/', '')}")
        paths[-1].write_bytes(contents[place][1])
    paths.insert(7, folder / "gone.png")
    return [str(path) for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_are_the_files_one_by_one_in_order(files: list[str], batch_size: int) -> None:
    bad: dict[int, str] = {}
    steps: list[int] = []
    batches = list(pixel_batches(files, 16, batch_size, bad, steps.append))
    alone = [decode_file(path, 16) for path in files]
    places = [place for some, _ in batches for place in some]
    assert places == [place for place, one in enumerate(alone) if not isinstance(one, str)]
    assert bad == {place: one for place, one in enumerate(alone) if isinstance(one, str)}
    assert len(places) == len(MADE) and len(bad) == len(REFUSED) + 1 and sum(steps) == len(files)
    assert {len(some) for some, _ in batches[:-1]} <= {batch_size}
    np.testing.assert_array_equal(np.concatenate([pixels for _, pixels in batches]), [alone[i] for i in places])


def test_a_file_that_cannot_be_read_has_the_systems_reason(files: list[str], tmp_path: Path) -> None:
    assert decode_file(files[7], 16) == "No such file or directory"
    assert decode_file(str(tmp_path), 16) == "Is a directory"


@pytest.mark.slow
def test_stopping_early_leaves_no_thread_waiting(files: list[str]) -> None:
    batches = pixel_batches(files, 16, 1, {})
    first = next(batches)
    batches.close()  # returns once the pool has ended
    assert first[1].shape == (1, 16, 16, 3)
    with pytest.raises(StopIteration):
        next(batches)


# Wild bytes. The decoder is to guard the process, so these run in it: a crash ends the whole run of tests.

SEEDS = {**MADE, **{name: data for name, (data, _) in REFUSED.items() if data},
         **{f"jpeg turned {i}": jpeg(exif=exif(i, i % 2 == 0)) for i in range(2, 9)},
         "webp canvas over a lossless still": webp_canvas(MADE["webp lossless"], 0x10),
         "webp animated that hides it": bytes(byte & ~2 if i == 20 else byte
                                              for i, byte in enumerate(REFUSED["webp animated"][0]))}
MAGIC = [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\x00\x40Exif\0\0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM",
         b"RIFF\x40\0\0\0WEBP", b"RIFF\x40\0\0\0WEBPVP8X", b"II*\x00", b"<svg", b"\xef\xbb\xbf"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An image with bytes changed, cut off, taken out, or another's end in place of its own."""
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    place = st.integers(0, len(data) - 1) | st.integers(0, min(63, len(data) - 1))  # headers tell the most
    for at, byte in draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=4)):
        data[at] = byte
    match draw(st.sampled_from(["whole", "cut", "shortened", "spliced"])):
        case "cut":
            del data[draw(place):]
        case "shortened":
            at = draw(place)
            del data[at:at + draw(st.integers(1, 40))]
        case "spliced":
            data[draw(place):] = SEEDS[draw(st.sampled_from(sorted(SEEDS)))][draw(place):]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(("bytes_of", "kinds"), [
    (damaged(), {np.ndarray, str}),
    (st.builds(bytes.__add__, st.sampled_from(MAGIC), st.binary(max_size=300)), {str}),
], ids=["damaged images", "noise"])
def test_wild_bytes_give_pixels_or_a_reason(bytes_of: st.SearchStrategy[bytes], kinds: set[type]) -> None:
    seen = set()

    @settings(quick, max_examples=400)
    @given(data=bytes_of)
    def holds(data: bytes) -> None:
        found = decoded_alike(data, 16)
        seen.add(type(found))
        if isinstance(found, str):
            assert found.strip()
        else:
            assert found.shape == (16, 16, 3) and found.dtype == np.uint8

    holds()
    assert kinds <= seen


# What the decoder honours, and the work it does not do


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_png_and_webp_stand_upright_as_a_jpeg_does(kind: str, orientation: int) -> None:
    image, more = Image.fromarray(scene(48, 80)), {"lossless": True} if kind == "WEBP" else {}
    plain, turned = save(image, kind, **more), save(image, kind, exif=exif(orientation, orientation % 2 == 0), **more)
    assert difference(decoded(turned), squashed(reference(turned), SIDE)) <= OTHER
    if orientation > 1:
        assert difference(decoded(plain), decoded(turned)) > 60


def gif(frame: NDArray[np.uint8], palette: list[int], *, at: tuple[int, int] = (0, 0), canvas: tuple[int, int],
        transparent: int | None = None) -> bytes:
    """A GIF whose frame, [height, width] of colour numbers, may lie anywhere on its canvas (width, height)."""
    image = Image.fromarray(frame, "L")
    image.putpalette(palette)
    data = bytearray(save(image, "GIF", **({} if transparent is None else {"transparency": transparent})))
    place = data.index(b"\x2c", 13)
    data[6:10] = struct.pack("<HH", *canvas)
    data[place + 1:place + 5] = struct.pack("<HH", *at)
    return bytes(data)


@pytest.mark.parametrize("transparent", [None, 1])
def test_a_gif_frame_keeps_its_place_and_what_is_transparent_is_white(transparent: int | None) -> None:
    frame = np.zeros((8, 12), np.uint8)
    frame[2:5, 3:9] = 1
    data = gif(frame, [200, 0, 0, 0, 0, 90, *[0] * 762], at=(5, 9), canvas=(SIDE, SIDE), transparent=transparent)
    expected = np.full((SIDE, SIDE, 3), 255, np.uint8)
    expected[9:17, 5:17] = (200, 0, 0)
    expected[11:14, 8:14] = (0, 0, 90) if transparent is None else 255
    assert np.array_equal(decoded(data), expected)


def test_only_the_first_frame_of_a_gif_is_decoded() -> None:
    frames = [Image.fromarray(np.roll(scene(), 9 * i, axis=1)).quantize(64) for i in range(3)]
    data = save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decoded(data), decoded(save(frames[0], "GIF")))
    second = data.index(b"\x2c", data.index(b"\x2c", 13) + 800)
    assert np.array_equal(decoded(data[:second + 20]), decoded(data))  # a damaged later frame does no harm


def bombs() -> dict[str, bytes]:
    """Small files that would cost seconds or gigabytes."""
    huge = bytearray(gif(np.zeros((4, 4), np.uint8), [0] * 768, canvas=(10, 10)))
    place = huge.index(b"\x2c", 13)
    huge[place + 5:place + 9] = struct.pack("<HH", 20_000, 20_000)
    progressive = jpeg(Image.new("L", (9000, 9000)), progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scans = progressive[:-2] + (progressive[last:-2]) * 60 + b"\xff\xd9"
    tiny = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3) + b"\x21\xfe" + b"\x01a\x02bc" * 100_000
    return {"gif": bytes(huge), "jpeg": scans, "gif of tiny blocks": tiny}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), [("gif", "100 megapixels"), ("jpeg", "too many scans"),
                                              ("gif of tiny blocks", "no size")])
def test_what_would_cost_too_much_work_is_refused_by_its_headers(name: str, reason: str) -> None:
    found = decoded_alike(bombs()[name], SIDE)
    assert isinstance(found, str) and reason in found


def test_scans_are_counted_in_the_image_and_not_in_what_is_attached_to_it() -> None:
    large = jpeg(Image.new("L", (6000, 6000)))
    assert not isinstance(decoded_alike(large + b"\xff\xda" * 1000, SIDE), str)  # a video after the end


@pytest.mark.parametrize(("start", "name"), [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
    (b"\0\0\0\x1cftypmif1\0\0\0\0heicmif1", "HEIC"), (b"\0\0\0\x1cftypavif", "AVIF"), (b"\xff\x0a\xfa", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"), (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"II*\0\x10\0\0\0CR\x02", "RAW"),
    (b"FUJIFILMCCD-RAW 0201", "RAW"), (b"\0\0\0\x18ftypcrx ", "RAW"), (b"%PDF-1.7", "PDF"),
    (b"\0\0\0\x18ftypisom", "MP4"),
    (b"\x1aE\xdf\xa3", "WebM"), (b"RIFF\0\0\0\0AVI LIST", "AVI"), (b"8BPS", "PSD"), (b"<!DOCTYPE html><html>", "HTML"),
    (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (bytes(500), "only zeros"),
    (b"https://example.org/a.png", "URL"), (b"/9j/4AAQSkZJRg", "base64"), (b"iVBORw0KGgoAAAA", "base64")])
def test_a_file_of_another_format_is_refused_by_name_with_what_to_do(start: bytes, name: str) -> None:
    found = decoded_alike(start + bytes(80), SIDE)
    assert isinstance(found, str) and name in found and ": " in found and len(found) < 160 and found.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_unless_it_is_accepted_and_then_its_missing_part_is_grey(progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (96, 96, 3))  # so that most of the file is image, not tables
    whole = jpeg(Image.fromarray((scene(96, 96) + noise).clip(0, 255).astype(np.uint8)), progressive=progressive)
    strict, lenient = (partial(decoded_alike, size=96, accept_truncated=accept) for accept in (False, True))
    assert np.array_equal(lenient(whole), strict(whole))
    for share in (0.4, 0.6, 0.9, 0.99):
        cut = whole[:int(share * len(whole))]
        assert isinstance(strict(cut), str) and not isinstance(lenient(cut), str)
    half = lenient(whole[:len(whole) * 6 // 10])
    if not progressive:  # of which the rows come one after the other
        assert np.array_equal(half[:24], strict(whole)[:24]) and (half[-8:] == 128).all()
    assert isinstance(lenient(whole[:60]), str)  # nothing of the image is left
    comment = b"\xff\xfe\x00\x04\xff\xd9"  # cut in a comment, behind what looks like the end
    disguised = whole[:whole.rindex(b"\xff\xda")] + comment
    assert isinstance(strict(disguised), str) == isinstance(lenient(disguised), str)


def test_files_that_end_early_have_keys_of_their_own_only_where_they_are_accepted(tmp_path: Path) -> None:
    whole = jpeg(Image.fromarray(scene()))
    files = {"whole.jpg": whole, "cut.jpg": whole[:-40], "long.jpg": whole + b"video", "a.png": b"\x89PNG", "void": b"",
             "with EXIF.jpg": jpeg(exif=exif(6))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    ids = [content_hash(data) for data in files.values()]
    assert keys_of(ids, paths) == ids
    changed = [key != id for key, id in zip(keys_of(ids, paths, True), ids, strict=True)]
    assert changed == [False, True, True, False, False, False]


@pytest.mark.parametrize("junk", [b"\xff", b"\xff\xff\xff", b"\x00", b"\xff\x01"])
def test_a_jpeg_with_something_between_its_segments_stands_upright_and_has_another_key(junk: bytes, tmp_path: Path
                                                                                       ) -> None:
    plain = jpeg(Image.fromarray(scene(48, 80)), exif=exif(6), comment=b"hi")
    early, late = (plain.replace(marker, junk + marker, 1) for marker in (b"\xff\xe1", b"\xff\xdb"))
    for name, data in (("early", early), ("late", late)):
        assert difference(decoded(data), decoded(plain)) == 0
        (tmp_path / name).write_bytes(data)
    ids = ["a" * 32, "b" * 32]
    keys = keys_of(ids, [str(tmp_path / "early"), str(tmp_path / "late")])
    assert keys[0] != ids[0] and keys[1] == ids[1]  # decoder 3 found the orientation of the second


@pytest.mark.parametrize(("bits", "name"), [(16, "16 bits"), (8, "palette"), (4, "palette"), (1, "palette")])
def test_a_bmp_is_refused_by_the_name_of_its_kind(bits: int, name: str) -> None:
    data = bytearray(save(Image.fromarray(scene()), "BMP"))
    data[28:30] = struct.pack("<H", bits)
    found = decoded_alike(bytes(data), SIDE)
    assert isinstance(found, str) and name in found


@pytest.mark.parametrize("alpha", [0, 128, None])
def test_a_bmp_with_alpha_is_on_white_and_one_with_odd_masks_is_refused(alpha: int | None) -> None:
    pixels = np.dstack([scene()[..., ::-1], np.full((SIDE, SIDE), alpha or 0, np.uint8)])[::-1]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    if alpha is None:
        masks = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0)
    head = struct.pack("<IiiHHIIiiII", 108, SIDE, SIDE, 1, 32, 3, SIDE * SIDE * 4, 0, 0, 0, 0) + masks + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + pixels.nbytes, 0, 0, 14 + 108) + head + pixels.tobytes()
    if alpha is None:
        assert "masks" in decoded_alike(data, SIDE)
        return
    expected = scene() if alpha == 0 else (scene().astype(int) * alpha + 255 * (255 - alpha)) / 255
    assert difference(decoded(data), np.round(expected).astype(np.uint8)) <= OTHER


def test_reasons_are_in_words() -> None:
    for name in ("jpeg cut in its pixels", "png cut in its pixels", "gif cut in its pixels", "bmp cut in its pixels",
                 "webp cut in its pixels", "jpeg cut in its header"):
        found = decoded_alike(REFUSED[name][0], SIDE)
        assert found == (f"could not be decoded: the {name.split()[0].upper().replace('WEBP', 'WebP')} file is damaged "
                         "or incomplete; restore it from the original")


# Keys of the cache


def test_only_files_whose_pixels_changed_get_other_keys(tmp_path: Path) -> None:
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(see_through())
    contents = {"png": save(rgb, "PNG"), "rgba png": save(rgba, "PNG"), "jpeg": jpeg(exif=exif(6)),
                "bmp": save(rgb, "BMP"), "webp": save(rgba, "WEBP"), "gif": save(rgb.quantize(8), "GIF"),
                "turned png": save(rgb, "PNG", exif=exif(3)), "turned webp": save(rgb, "WEBP", exif=exif(3)),
                "empty": b""}
    paths = []
    for name, data in contents.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    ids = [content_hash(data) for data in contents.values()]
    keys = Pixels(SIDE).keys(ids, [str(path) for path in paths])
    assert [name for name, key, content in zip(contents, keys, ids, strict=True) if key != content] == [
        "gif", "turned png", "turned webp"]
    assert len(set(keys)) == len(keys) and Pixels(SIDE).version == f"{SIDE} decoder 3"
    assert list(Pixels(SIDE).keys(ids[:1], [str(tmp_path / "gone")])) == ids[:1]


# The quick way: every test above that calls `decoded_alike` compares it with the graph

@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 31, 48, 70])
@pytest.mark.parametrize("kind", ["baseline", "progressive", "grey", "CMYK", "turned", "PNG", "see-through PNG"])
def test_usual_files_are_decoded_without_the_graph_and_equal_to_it(kind: str, size: int) -> None:
    noise = np.random.default_rng(size).integers(0, 256, (48, 70, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    options = {"progressive": kind == "progressive", **({"exif": exif(6)} if kind == "turned" else {})}
    mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    data = (save(image if "see" in kind else image.convert("RGB"), "PNG") if "PNG" in kind else
            jpeg(image.convert("RGB").convert(mode), **options))
    assert quick_pixels(data, size, False, lambda head: 6) is not None
    decoded_alike(data, size)


def test_decoders_of_every_size_share_the_graph_of_the_orientation() -> None:
    """Tracing it takes a second, and it does not depend on the size."""
    data = jpeg(exif=exif(6))
    images._orientation_graph.cache_clear()
    for size in (5, 6):
        assert isinstance(images.Decoder(size)(data), np.ndarray)
    assert images._orientation_graph.cache_info().misses == 1


def test_the_quick_way_leaves_to_the_graph_what_is_unusual() -> None:
    usual = jpeg(Image.fromarray(scene()))
    for data in (b"", usual[:8], usual.replace(b"\xff\xdb", b"\xff\xff\xdb", 1), usual[:-40],
                 save(Image.fromarray(scene()), "GIF"), save(Image.fromarray(scene()), "PNG", exif=exif(6)),
                 usual + b"\xff\xda" * 2_000_001):
        assert quick_pixels(data, SIDE, False, lambda head: 1) is None


def test_the_quick_blend_is_that_of_the_graph_for_every_level_and_alpha() -> None:
    levels, alphas = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    pixels = np.dstack([levels, levels, levels, alphas])
    assert np.array_equal(quick_on_white(pixels), images._on_white(tf.constant(pixels)))
