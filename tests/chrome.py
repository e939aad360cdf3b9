"""A page in headless Chromium, driven by the DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """One page. complaints: what the browser logged as an error, and exceptions of the page's scripts. pid: of the
    browser's first process."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, pid: int) -> None:
        self._socket, self._number, self.pid = socket, 0, pid
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive(60)).data)
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def value(self, expression: str) -> Any:
        """What an expression evaluates to in the page."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str, seconds: float = 60) -> Any:
        """Wait until an expression is true. Returns its value."""
        for _ in range(int(seconds * 10)):
            if value := await self.value(expression):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} did not become true; complaints: {self.complaints}")

    async def given(self, function: str, content: bytes, *values: Any) -> Any:
        """What a function of JavaScript returns for bytes, which it gets as a Blob, and other values."""
        words = ", ".join(json.dumps(value) for value in (base64.b64encode(content).decode(), *values))
        return await self.value(f"""((text, ...values) => ({function})(
            new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]), ...values))({words})""")

    async def choose(self, selector: str, path: Path) -> None:
        """Put a file into an input."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    async def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        picture = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@asynccontextmanager
async def opened(url: str, dark: bool = False) -> AsyncIterator[Tab]:
    """A page in a browser of its own, with a camera that shows a test picture."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--use-fake-device-for-media-stream",
             "--use-fake-ui-for-media-stream", "--remote-debugging-port=0", "--window-size=900,1200",
             f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            port = line.split("ws://")[1].split("/")[0].split(":")[1]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    target = next(one for one in await answer.json() if one["type"] == "page")
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket, process.pid)
                    for domain in ("Page", "Runtime", "Log", "DOM"):
                        await tab.call(f"{domain}.enable")
                    if dark:
                        await tab.call("Emulation.setEmulatedMedia",
                                       features=[{"name": "prefers-color-scheme", "value": "dark"}])
                    await tab.call("Page.navigate", url=url)
                    yield tab
        finally:
            process.kill()
            process.communicate()
