"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Keys that do something without a text, by name: their code.
KEYS = {"Tab": 9, "Enter": 13}
STARTS_S = 60.0


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a browser that runs already."""

    def __init__(self, socket: WebSocketClientConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop, self._ids = socket, loop, count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a command of the protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), STARTS_S))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        own = next(self._ids)
        await self._socket.write_message(json.dumps({"id": own, "method": method, "params": params}))
        while True:
            message = await self._socket.read_message()
            assert message is not None, "the browser has gone"
            answer = json.loads(message)
            if answer.get("id") == own:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Show a file in a window of a size, as soon as it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.run("new Promise(r => document.readyState == 'complete' ? r() : addEventListener('load', () => r()))")

    def press(self, key: str) -> None:
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile in `folder`, and end it with the block."""
    program = find_chromium()
    assert program
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [program, *flags, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    loop = asyncio.new_event_loop()
    try:
        assert process.stderr
        found = next(m for line in process.stderr if (m := re.search(r"ws://([\d.]+:\d+)/", line)))

        async def connect() -> WebSocketClientConnection:
            pages = json.loads((await AsyncHTTPClient().fetch(f"http://{found[1]}/json")).body)
            address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            return await websocket_connect(address, max_message_size=2**28)

        yield Browser(loop.run_until_complete(connect()), loop)
    finally:
        process.terminate()
        process.wait(timeout=STARTS_S)
        loop.close()
