"""The models of the quickstart in headless Chromium, by LiteRT: how far their probabilities are from the server's, and
the time of a webcam's frame, as CPU time of all the browser's processes."""

import asyncio
import base64
import http.client
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figure import Figure, at_least
from benchmarks.serve import MODEL, STAMPS
from kerastl.server.load import server_process
from kerastl.server.page.web_runtime import find_runtime

SNIPPETS, TEXTS = Path("saved_models/snippets"), Path("samples/snippets.csv")
ROWS, FRAMES, GOAL = 500, 100, 1e-3
OPEN = """async () => {
  const { open } = await import("/kerastl/in_browser.js");
  const [model] = (await (await fetch("/kerastl/models")).json()).models;
  window.inThisBrowser = await open(`/kerastl/models/${model.name}/${model.version}`, model.in_browser.input);
}"""
ANSWER = "async (blob) => (await inThisBrowser.answer(blob)).probabilities"
ANSWER_TEXT = "async (blob) => (await inThisBrowser.answer(await blob.text())).probabilities"
# A frame of the camera as the page takes it: a JPEG, which is decoded again, resized and classified.
CAMERA = """async () => {
  const video = document.createElement("video");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  video.srcObject = stream; video.muted = true;
  await video.play();
  window.canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getTracks().forEach((track) => track.stop());
}"""
LOOP = """async (count) => {
  for (let i = 0; i < count; i++) {
    await inThisBrowser.answer(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 }));
  }
}"""


def beside_the_server() -> list[Figure]:
    """Probabilities of the stamps and of the first snippets, and frames a second."""
    sys.path.insert(0, "tests")
    from chrome import CHROMIUM

    if find_runtime() is None or CHROMIUM is None:
        return [Figure("a model in the browser", "not measured: needs chromium, and run `make web` first")]
    figures = []
    if MODEL.exists() and STAMPS.exists():
        images = [path.read_bytes() for path in sorted(STAMPS.rglob("*.png"))]
        instances: list[Any] = [{"b64": base64.b64encode(content).decode()} for content in images]
        figures += asyncio.run(_measured(MODEL, "stamps", images, instances, ANSWER, frames=True))
    if SNIPPETS.exists() and TEXTS.exists():
        import kerastl as tl

        texts = [str(item) for item in tl.read_texts(str(TEXTS)).items[:ROWS]]
        figures += asyncio.run(_measured(SNIPPETS, "snippets", [text.encode() for text in texts], texts, ANSWER_TEXT))
    return figures or [Figure("a model in the browser", "not measured: run `make quickstart` first")]


async def _measured(model: Path, name: str, contents: Sequence[bytes], instances: Sequence[Any], function: str,
                    frames: bool = False) -> list[Figure]:
    from chrome import opened

    with server_process(model) as process:
        port = process.rest
        server = [_asked(port, name, instances[start:start + 32]) for start in range(0, len(instances), 32)]
        async with opened(f"http://127.0.0.1:{port}/") as tab:
            await tab.until("document.querySelectorAll('#model option').length == 1")
            await tab.value(f"({OPEN})()")
            here = [await tab.given(function, content) for content in contents]
            difference = np.abs(np.array(here) - np.concatenate(server))
            rows = difference.max(axis=1)
            figures = [Figure(f"{name}, {len(rows):,} rows in the browser: largest difference from the server's "
                              f"probabilities, fp32 (median over rows {np.median(rows):.0e})", f"{rows.max():.1e}",
                              f"<= {GOAL:g}", bool(rows.max() <= GOAL))]
            if frames:
                await tab.value(f"({CAMERA})()")
                await tab.value(f"({LOOP})(5)")
                before = _cpu_seconds(tab.pid)
                await tab.value(f"({LOOP})({FRAMES})")
                each = (_cpu_seconds(tab.pid) - before) / FRAMES
                figures.append(at_least(f"{name}: frames of 640 x 480 per CPU second of the browser ({1000 * each:.0f} "
                                        "ms each: JPEG, resizing, model)", 1 / each, 5))
    return figures


def _asked(port: int, name: str, instances: Sequence[Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", f"/v1/models/{name}:predict", json.dumps({"instances": list(instances)}))
    answer = json.loads(connection.getresponse().read())
    return np.array([row["probabilities"] for row in answer["predictions"]])


def _cpu_seconds(pid: int) -> float:
    """Of a process and all that it started."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        stats[int(path.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    while more := {child for child, (parent, _) in stats.items() if parent in family} - family:
        family |= more
    return sum(stats[member][1] for member in family if member in stats) / os.sysconf("SC_CLK_TCK")
