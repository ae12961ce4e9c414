"""A headless Chromium, driven over its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --hide-scrollbars"
)
CONNECT = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"
"""Chromium reads commands from descriptor 3 and writes replies to 4."""
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "Tab": 9, "PageUp": 33, "PageDown": 34}
TIMEOUT_SECONDS = 90.0


class Browser:
    """One page in a browser of its own; ``console`` collects messages of the console and exceptions."""

    def __init__(self, profile: Path, width: int, height: int = 1000) -> None:
        (commands, self._out), (self._in, replies) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, replies)]
        start = [sys.executable, "-c", CONNECT, *map(str, ends), str(CHROMIUM), *OPTIONS.split()]
        self._process = subprocess.Popen(
            [*start, f"--user-data-dir={profile}", f"--window-size={width},{height}"],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (commands, replies, *ends):
            os.close(end)
        self._buffer, self._count, self._session = b"", 0, None
        self.console: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its reply."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                result: dict[str, Any] = reply["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(text)
        method = found.get("method", "")
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(found["params"]))
        return found

    def open(self, page: Path) -> None:
        """Load a page and wait until all of it is there."""
        self("Page.navigate", url=page.as_uri())
        limit = time.monotonic() + TIMEOUT_SECONDS
        while self.ask("document.readyState") != "complete" or self.ask("location.protocol") != "file:":
            if time.monotonic() > limit:
                raise RuntimeError("the page does not load")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        done = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("rawKeyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        done = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(done["data"]))

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(timeout=30)
