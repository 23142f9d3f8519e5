"""A headless Chromium that opens a page without a network, spoken to through two pipes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_TROUBLE = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


class Page:
    """An open page: what it does, says and asks for.

    Attributes:
        requests: Addresses of everything that it has asked for.
        trouble: What the console has shown.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = os.fdopen(send, "wb", buffering=0), os.fdopen(receive, "rb")
        self._numbers, self._session = count(1), None
        self.requests, self.trouble = [], []

    def open(self, path: Path, width: int = 1000, dark: bool = False) -> None:
        """Show a file in a window of some width, and wait until its charts are drawn."""
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        asked = {"targetId": target["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **asked)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise(done => { const look = () => document.body?.dataset.drawn "
            "? done(true) : setTimeout(look, 50); look(); })"
        )

    def run(self, script: str) -> object:
        """Return what a script gives."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = f"document.querySelector({json.dumps(selector)})"
        script = f"(() => {{ const e = {box}; e.scrollIntoView({{block: 'center'}}); "
        x, y, width, height = self.run(
            f"{script} const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()"
        )
        where = {"x": x + width / 2, "y": y + height / 2, "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **where)

    def call(self, method: str, **parameters: object) -> dict:
        """Send a command, and take note of all that happens until its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        session = {"sessionId": self._session} if self._session else {}
        self._send.write(json.dumps({**message, **session}).encode() + b"\0")
        while True:
            found = json.loads(self._read())
            if found.get("method") == "Network.requestWillBeSent":
                self.requests.append(found["params"]["request"]["url"])
            elif found.get("method") in _TROUBLE:
                self.trouble.append(found["params"])
            elif found.get("id") == number:
                assert "error" not in found, found
                return found["result"]

    def _read(self) -> bytes:
        data = b""
        while (byte := self._receive.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            data += byte
        return data


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Give a page of a new browser; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"no headless browser here: none of {', '.join(_NAMES)}")
    (take, send), (receive, give) = os.pipe(), os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
    words = [program, *flags, f"--user-data-dir={profile}", "about:blank"]
    shell = f'exec "$@" 3<&{take} 4>&{give}'  # the browser reads from 3 and writes to 4
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *words],
        pass_fds=(take, give),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(take)
    os.close(give)
    page = Page(send, receive)
    try:
        yield page
    finally:
        process.terminate()
        process.wait(timeout=20)
