"""The page of `kerastl serve` in headless Chromium with a fake camera, by hand: `make test-browser`."""

import asyncio
from pathlib import Path

import pytest
from chrome import CHROMIUM, opened
from served import serving

from kerastl.server.options import ServerOptions

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
