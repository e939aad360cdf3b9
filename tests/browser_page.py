"""The page of `kerastl serve` in headless Chromium with a fake camera, by hand: `make test-browser`."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from chrome import CHROMIUM, opened
from PIL import Image
from served import Server, serving

from kerastl.server.options import ServerOptions

MODEL = "it's (new)"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt install chromium")


def test_an_image_and_the_webcam_are_classified_and_recorded(trained: Path, images: Path, tmp_path: Path) -> None:
    async def use(port: int) -> None:
        async with opened(f"http://127.0.0.1:{port}/") as tab:
            await tab.until("document.querySelectorAll('#model option').length == 1")
            await tab.choose("#file", next(images.rglob("*.png")))
            await tab.until("document.querySelectorAll('#bars li').length == 3")
            assert "%" in await tab.value("document.getElementById('verdict').textContent")
            (tmp_path / "bad.png").write_bytes(b"no image")
            await tab.choose("#file", tmp_path / "bad.png")
            await tab.until("Boolean(document.querySelector('.verdict.error'))")
            await tab.value("document.getElementById('webcam').click()")
            await tab.until("document.querySelectorAll('#bars li').length == 3")
            await tab.value("document.getElementById('record-label').value = 'pattern'")
            await tab.value("document.getElementById('hold').dispatchEvent(new Event('pointerdown'))")
            await tab.until("document.getElementById('recorded').textContent.includes('recorded')")
            await tab.value("document.getElementById('hold').dispatchEvent(new Event('pointerup'))")
            complaints = [text for text in tab.complaints if "400" not in text]  # of the image that is none
            assert not complaints

    with serving(trained, ServerOptions(record=str(tmp_path / "recorded"))) as server:
        asyncio.run(use(server.rest))
    assert list((tmp_path / "recorded" / "pattern").glob("*.jpg"))


def test_the_page_goes_on_with_a_new_version(trained: Path, images: Path, tmp_path: Path) -> None:
    """And its curl line works for an image that is too large for an argument; a webcam turned on twice is off."""
    shutil.copytree(trained, tmp_path / MODEL / "1")
    picture = tmp_path / "two words.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(picture)

    async def use(server: Server) -> None:
        async with opened(f"http://127.0.0.1:{server.rest}/") as tab:
            await tab.until("document.querySelectorAll('#model option').length == 1")
            await tab.choose("#file", picture)
            await tab.until("document.querySelectorAll('#bars li').length == 3")
            line = await tab.value("document.getElementById('curl').textContent")
            done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
            assert "probabilities" in json.loads(done.stdout)["predictions"][0], done
            shutil.copytree(trained, tmp_path / MODEL / "2")
            path = f"/v1/models/{quote(MODEL)}/versions"
            while server.ask(f"{path}/2")[0] != 200 or "AVAILABLE" in str(server.ask(f"{path}/1")[1]):
                await asyncio.sleep(0.1)
            await tab.choose("#file", next(images.rglob("*.png")))
            await tab.until("document.querySelector('#model').selectedOptions[0].text.endsWith('version 2')")
            await tab.until("document.querySelectorAll('#bars li').length == 3")
            assert await tab.value("document.querySelector('.verdict.error')") is None
            assert "versions/2:" in await tab.value("document.getElementById('curl').textContent")
            await tab.value("document.getElementById('webcam').click(), document.getElementById('webcam').click()")
            await tab.until("Boolean(document.getElementById('video').srcObject)")
            await tab.value("document.getElementById('webcam').click()")
            assert await tab.value("stream === null && document.getElementById('video').srcObject === null")
            assert not [text for text in tab.complaints if "404" not in text]  # of the version that is gone

    with serving(tmp_path / MODEL) as server:
        asyncio.run(use(server))
