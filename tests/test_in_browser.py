"""A model in headless Chromium beside the server: pixels to the last bit, token ids, and answers."""

import asyncio
import base64
import json
import math
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from chrome import CHROMIUM, Tab, opened
from conftest import draw
from image_files import SIDE, chunk, decoded_alike, exif, jpeg, made, save, scene, see_through, unusual
from PIL import Image, ImageCms
from served import half_plus, serving
from text_folders import hugging_face_folder

from kerastl.cli import main
from kerastl.export import reference_tokenizer
from kerastl.inputs import vocabulary
from kerastl.server.options import ServerOptions
from kerastl.server.page.web_runtime import find_runtime

RUNTIME = find_runtime()
GOLDEN = Path(__file__).parent / "golden/tokenizers"
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt install chromium")]
with_runtime = pytest.mark.skipif(RUNTIME is None, reason="LiteRT for browsers is not in place: make web")
PIXELS = """async (blob, size) => {
  const { read } = await import("/kerastl/pixels.js");
  try {
    let text = "";
    for (const value of await read(blob, size)) { text += String.fromCharCode(value); }
    return { pixels: btoa(text) };
  } catch (error) { return { failed: String(error) }; }
}"""
TOKENS = """async (blob, rules, texts) => {
  const { numbers, tokens } = await import("/kerastl/tokens.js");
  const map = numbers(new Uint8Array(await blob.arrayBuffer()), rules);
  return texts.map((text) => [...tokens(text, map, rules)]);
}"""


def in_page(folder: Path, use: Callable[[Tab], Awaitable[None]], options: ServerOptions | None = None) -> None:
    """Do something in the page of a server of a folder."""

    async def run(port: int) -> None:
        async with opened(f"http://127.0.0.1:{port}/") as tab:
            await tab.until("document.querySelectorAll('#model option').length >= 1")
            await use(tab)

    with serving(folder, options) as server:
        asyncio.run(run(server.rest))


def before_pixels(png: bytes, extra: bytes) -> bytes:
    """The PNG with chunks put behind its header."""
    return png[:33] + extra + png[33:]


def coloured() -> dict[str, bytes]:
    """Images that ask for other colours, which the graph does not change, and some that browsers may turn or round."""
    gamma = chunk(b"gAMA", (200_000).to_bytes(4, "big"))
    whites = chunk(b"cHRM", b"".join(n.to_bytes(4, "big") for n in (31270, 32900, 73470, 26530, 27380, 71740, 17410,
                                                                    8830)))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"????"), (b"bXYZ", b"rXYZ"), (b"????", b"bXYZ")):  # red and blue changed places
        profile = profile.replace(old, new, 1)
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(see_through())
    deep = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)
    return {
        "png gamma": before_pixels(save(rgb, "PNG"), gamma + whites),
        "png gamma, transparent": before_pixels(save(rgba, "PNG"), gamma), "png 16-bit noise": save(
            Image.fromarray(deep), "PNG"),
        "jpeg with a profile": jpeg(icc_profile=profile), "png with a profile": save(rgb, "PNG", icc_profile=profile),
        "webp with a profile": save(rgb, "WEBP", lossless=True, icc_profile=profile),
        **{f"jpeg turned {i}": jpeg(exif=exif(i)) for i in range(9)},
        **{f"png turned {i}": save(Image.fromarray(scene(5, 9)), "PNG", exif=exif(i)) for i in (1, 6)},
        **{f"webp turned {i}": save(Image.fromarray(scene(48, 80)), "WEBP", exif=exif(i, i % 2 == 0))
           for i in range(9)},
        "webp turned, transparent": save(rgba, "WEBP", lossless=True, exact=True, exif=exif(5)),
        "webp turned, named": save(rgb, "WEBP", exif=b"Exif\0\0" + exif(8))}


def of_many_sizes(count: int) -> dict[str, bytes]:
    """Images of sides from 1 to 1500 pixels, noise and gradients, in six kinds of files."""
    random, files = np.random.default_rng(1), {}
    for i in range(count):
        height, width = (int(math.exp(random.uniform(0, math.log(1500)))) for _ in range(2))
        if i % 10 < 2:  # whole factors, where many values lie halfway between two levels
            height, width = ((224 * int(random.integers(1, 5)), 224), (112, 56))[i % 10]
        pixels = scene(height, width) if i % 2 else random.integers(0, 256, (height, width, 3), np.uint8)
        image, kind = Image.fromarray(pixels), ("RGB", "RGBA", "P", "L", "JPEG", "WEBP")[i % 6]
        if kind == "RGBA":
            image = Image.fromarray(np.dstack([pixels, random.integers(0, 256, (height, width), np.uint8)]))
        image = image.quantize(64) if kind == "P" else image.convert("L") if kind == "L" else image
        files[f"{kind} {height} x {width}, {i}"] = (
            jpeg(image, quality=int(random.integers(40, 100)), subsampling=int(random.integers(0, 3)))
            if kind == "JPEG" else save(image, "WEBP", lossless=i % 4 == 1) if kind == "WEBP" else save(image, "PNG"))
    return files


def test_the_pixels_are_those_of_the_graph_to_the_last_bit(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    files = {**made(), **unusual(), **coloured(), **of_many_sizes(200)}
    not_shown = {"bmp without its last padding"}  # the browser refuses it
    opaque = {"webp lossless alpha that is not announced"}  # the browser believes the header

    async def use(tab: Tab) -> None:
        differing, failed = {}, set()
        for name, content in files.items():
            size = 224 if " x " in name else SIDE
            answer, expected = await tab.given(PIXELS, content, size), decoded_alike(content, size)
            assert isinstance(expected, np.ndarray), expected
            if "failed" in answer:
                failed.add(name)
                continue
            pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(expected.shape)
            if not np.array_equal(pixels, expected):
                differing[name] = int(np.abs(pixels.astype(int) - expected).max())
        assert set(differing) <= opaque and failed == not_shown, differing
        for content in (b"", b"no image", save(Image.fromarray(scene()), "PNG")[:60]):
            assert "failed" in await tab.given(PIXELS, content, SIDE)

    in_page(tmp_path / "half", use)


def test_every_colour_of_every_alpha_is_the_graphs(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    colour, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.dstack([colour, 255 - colour, colour, alpha]))

    async def use(tab: Tab) -> None:
        for content in (save(image, "PNG"), save(image, "WEBP", lossless=True, exact=True)):
            answer, expected = await tab.given(PIXELS, content, 256), decoded_alike(content, 256)
            assert base64.b64decode(answer["pixels"]) == np.asarray(expected).tobytes()

    in_page(tmp_path / "half", use)


def texts() -> list[str]:
    """The golden strings, and lines of random letters of many scripts, 1,000 in all."""
    found = [text for text in json.loads((GOLDEN / "strings.json").read_text()) if isinstance(text, str)]
    random = np.random.default_rng(0)
    letters = "".join(map(chr, [*range(32, 127), *range(0xA0, 0x250), *range(0x370, 0x400), *range(0x4E00, 0x4E20),
                                *range(0x300, 0x330), *range(0x2000, 0x2070), *range(0xAC00, 0xAC20), 0x1F600]))
    while len(found) < 1000:
        words = "playing unaffable the of ##ing don't isn’t Übung İstanbul ΣΑΣ naïve".split()
        made_up = ["".join(random.choice([*letters], random.integers(1, 9))) for _ in range(6)]
        found.append(" ".join(random.permutation([*made_up, *random.choice(words, 6)])))
    return found


@pytest.mark.parametrize("name", ["bert-uncased", "bert-cased", "bert-uncased-json"])
def test_the_token_ids_are_those_of_the_reference(name: str, tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    vocabulary.save(vocabulary.read(GOLDEN / name), tmp_path / "tokenizer")
    rules, pieces = (tmp_path / "tokenizer" / file for file in ("about.json", "vocab.txt"))

    async def use(tab: Tab) -> None:
        for length, beyond in ((1000, 0), (12, 0), (12, 20)):
            about = {**json.loads(rules.read_text()), "max_length": length, "beyond": beyond}
            answers = await tab.given(TOKENS, pieces.read_bytes(), about, texts())
            for text, ids in zip(texts(), answers, strict=True):
                assert ids == reference_tokenizer.tokens(tmp_path / "tokenizer", text, None, length, beyond), repr(text)

    in_page(tmp_path / "half", use)


@pytest.fixture(scope="session")
def several_labels(images: Path, tmp_path_factory: pytest.TempPathFactory, dropped_in: Path) -> Path:
    """A version whose rows have several labels."""
    folder = tmp_path_factory.mktemp("several")
    lines = ["path,label"]
    for i, path in enumerate(sorted(images.rglob("*.png"))):
        lines.append(f"{path},{path.parent.name}{'|large' if i % 3 == 0 else ''}")
    (folder / "t.csv").write_text("\n".join(lines))
    assert main(["run", "tiny_images", "--data", str(folder / "t.csv"), "--name", "several", "--out", str(folder),
                 "--weights", "none", "--tflite", "fp32", "--multi-label", "on"]) in (0, 1)
    return folder / "several/1"


async def switched_on(tab: Tab) -> None:
    await tab.value("document.getElementById('local-on').click()")
    await tab.until("document.getElementById('local-note').textContent.includes('LiteRT')")


async def difference(tab: Tab) -> float:
    """The largest difference of probability, as the page states it."""
    words = await tab.until("!document.getElementById('local-verdict').hidden && "
                            "document.getElementById('local-verdict').textContent")
    assert words.startswith("This browser: "), words
    return float(words.split("probabilities: ")[1].split(". ")[0].rstrip("."))


@with_runtime
@pytest.mark.parametrize("which", ["trained", "several_labels"])
def test_the_browser_answers_beside_the_server(which: str, request: pytest.FixtureRequest, images: Path,
                                               tmp_path: Path) -> None:
    version: Path = request.getfixturevalue(which)

    async def use(tab: Tab) -> None:
        await tab.choose("#file", next(images.rglob("*.png")))
        await tab.until("document.querySelectorAll('#bars li').length >= 3")
        assert await tab.value("document.querySelectorAll('#bars .second').length") == 0
        await switched_on(tab)  # what was classified before is answered anew
        assert await difference(tab) <= 1e-3
        assert await tab.value("document.querySelectorAll('#bars progress.second').length") >= 3
        for i, path in enumerate(sorted(images.rglob("*.png"))[::9]):
            await tab.value("document.getElementById('local-verdict').hidden = true")
            await tab.choose("#file", path)
            assert await difference(tab) <= 1e-3
            verdict, second = [await tab.value(f"document.getElementById('{name}').textContent")
                               for name in ("verdict", "local-verdict")]
            assert second.split(": ", 1)[1].startswith(verdict.removeprefix("Server: ").split(" (")[0]), i
        (tmp_path / "bad.png").write_bytes(b"no image")
        await tab.choose("#file", tmp_path / "bad.png")
        await tab.until("Boolean(document.querySelector('.verdict.error'))")
        assert await tab.value("document.getElementById('local-verdict').hidden")
        await tab.value("document.getElementById('webcam').click()")
        assert await difference(tab) <= 1e-3
        await tab.value("document.getElementById('webcam').click()")
        await tab.choose("#file", next(images.rglob("*.png")))
        assert await difference(tab) <= 1e-3
        await tab.value("document.getElementById('local-on').click()")
        await tab.until("document.getElementById('local-verdict').hidden && !document.querySelector('#bars .second')")
        await tab.until("document.querySelectorAll('#bars li').length >= 3")
        assert not [text for text in tab.complaints if "400" not in text]  # of the image that is none

    in_page(version, use, ServerOptions(web_runtime=RUNTIME))


@with_runtime
def test_texts_are_answered_beside_the_server(tmp_path: Path, dropped_in: Path) -> None:
    table, weights = tmp_path / "texts.csv", hugging_face_folder(tmp_path / "bert", "bert")
    table.write_text("text,label\n" + "".join(f"a good film {i},fine\na dull scene {i},poor\n" for i in range(12)))
    assert main(["run", "bert_text", "--data", str(table), "--name", "texts", "--weights", str(weights), "--unfreeze",
                 "0", "--out", str(tmp_path), "--tflite", "fp16"]) in (0, 1)

    async def use(tab: Tab) -> None:
        await switched_on(tab)
        assert "model_fp16.tflite" in await tab.value("document.getElementById('local-note').textContent")
        for text in ("a good film", "A DULL, dull scene… naïve 😀 映画", "good " * 300, "a\tb\u0000c <b>&amp;</b>"):
            await tab.value("document.getElementById('local-verdict').hidden = true")
            await tab.value(f"document.getElementById('text').value = {json.dumps(text)}")
            await tab.value("document.getElementById('ask').click()")
            assert await difference(tab) <= 1e-2, text
        assert not tab.complaints

    in_page(tmp_path / "texts/1", use, ServerOptions(web_runtime=RUNTIME))


@with_runtime
def test_a_damaged_file_leaves_the_server_s_answer(trained: Path, images: Path, tmp_path: Path) -> None:
    version = tmp_path / "tiny/1"
    shutil.copytree(trained, version)
    (version / "tflite/model_fp32.tflite").write_bytes(b"TFL3 no model")

    async def use(tab: Tab) -> None:
        await tab.value("document.getElementById('local-on').click()")
        await tab.until("document.getElementById('local-note').textContent.includes('cannot be run in this browser')")
        assert not await tab.value("document.getElementById('local-on').checked")
        await tab.choose("#file", next(images.rglob("*.png")))
        await tab.until("document.querySelectorAll('#bars li').length == 3")

    in_page(version, use, ServerOptions(web_runtime=RUNTIME))


def test_without_the_runtime_the_switch_is_off_and_says_why(trained: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (200, 0, 0), 1)

    async def use(tab: Tab) -> None:
        assert await tab.value("document.getElementById('local-on').disabled")
        assert "not installed" in await tab.value("document.getElementById('local-note').textContent")
        await tab.choose("#file", tmp_path / "a.png")
        await tab.until("document.querySelectorAll('#bars li').length == 3")
        assert not tab.complaints

    in_page(trained, use)
