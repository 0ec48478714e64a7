"""Chromium without a window, driven through two pipes (the DevTools protocol, as JSON)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60


def found() -> str | None:
    """Where the browser is; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. `events` holds all that the browser told of it since it was opened."""

    def __init__(self, profile: Path):
        self.events: list[dict[str, Any]] = []
        self._number = 0
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        command = [
            found() or NAMES[0], "--headless=new", "--no-sandbox", "--disable-gpu",
            "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}",
            "--disable-background-networking", "--disable-component-update", "about:blank",
        ]  # fmt: skip

        def as_3_and_4() -> None:  # where Chromium looks for the pipes
            os.dup2(os.dup(to_read), 3)
            os.dup2(os.dup(to_write), 4)

        self._process = subprocess.Popen(
            command,
            close_fds=False,
            preexec_fn=as_3_and_4,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        (target,) = (
            t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"
        )
        asked = {"targetId": target["targetId"], "flatten": True}
        self._session = self._ask("Target.attachToTarget", asked)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._send("Browser.close", {}, "")
        self._process.wait(SECONDS)
        os.close(self._in)
        os.close(self._out)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file in a window of this size, in light or dark."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.events.clear()
        self.ask("Page.navigate", {"url": path.as_uri()})
        while not self.told("Page.loadEventFired"):
            self.events.append(self._read())

    def told(self, *methods: str) -> list[dict[str, Any]]:
        """The events of some kinds."""
        return [e["params"] for e in self.events if e.get("method") in methods]

    def value(self, script: str) -> Any:
        """What an expression of JavaScript gives in the page."""
        asked = {"expression": script, "returnByValue": True}
        came = self.ask("Runtime.evaluate", asked)
        if "exceptionDetails" in came:
            raise RuntimeError(f"{script}: {came['exceptionDetails']}")
        return came["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        asked = {"format": "png", "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", asked)["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it would be printed."""
        asked = {"printBackground": False, "paperWidth": 8.27, "paperHeight": 11.69}
        path.write_bytes(base64.b64decode(self.ask("Page.printToPDF", asked)["data"]))

    def ask(self, method: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """A command to the page; its answer."""
        return self._ask(method, asked, self._session)

    def _ask(
        self, method: str, asked: dict[str, Any] | None = None, session: str = ""
    ) -> dict[str, Any]:
        number = self._send(method, asked or {}, session)
        while True:
            came = self._read()
            if came.get("id") == number:
                if "error" in came:
                    raise RuntimeError(f"{method}: {came['error']}")
                return came["result"]
            self.events.append(came)

    def _send(self, method: str, asked: dict[str, Any], session: str) -> int:
        self._number += 1
        said = {"id": self._number, "method": method, "params": asked}
        if session:
            said["sessionId"] = session
        data = json.dumps(said).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        return self._number

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in, 1 << 16)
            if not piece:
                raise RuntimeError("the browser ended")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)
