"""A headless Chromium, driven through its DevTools protocol over two pipes. It needs nothing but the browser."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
WAIT_S = 60.0
"""Far beyond what anything takes, on a machine that does other things too."""

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27}


class Browser:
    """The browser. Each page has storage of its own, as that of another person, unless it shares one."""

    def __init__(self, folder: Path) -> None:
        (reads, ours), (theirs, writes) = os.pipe(), os.pipe()
        # Above 4, so that putting them at 3 and 4 overwrites neither.
        reads_there, writes_there = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes))

        def at_three_and_four() -> None:
            os.dup2(reads_there, 3)
            os.dup2(writes_there, 4)

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}"],
            close_fds=False,
            preexec_fn=at_three_and_four,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (reads, writes, reads_there, writes_there):
            os.close(end)
        self.out, self.into = ours, theirs
        self.buffer, self.number, self.events = b"", 0, []

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method of the protocol. Events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.into], [], [], max(0.0, deadline - time.monotonic()))
            found = os.read(self.into, 1 << 20) if ready else b""
            if not found:
                raise TimeoutError("Chromium does not answer")
            self.buffer += found
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def page(self, beside: "Page | None" = None, language: str = "en") -> "Page":
        """A new tab, of a person of its own or of the one that another tab belongs to."""
        context = beside.context if beside else self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        page.size(1280, 800)
        return page

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self.browser, self.session, self.context = browser, session, context

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol on this tab."""
        return self.browser.call(method, self.session, **params)

    def size(self, width: int, height: int, scale: float = 1, mobile: bool = False) -> None:
        """Set the size of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def open(self, address: str) -> None:
        """Go to an address, and wait until its script has run."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && document.title !== 'internlm2 label'")

    def reload(self) -> None:
        """Load the page again."""
        self.js("window.isOld = true")
        self.call("Page.reload")
        self.until("!window.isOld && document.readyState === 'complete' && document.title !== 'internlm2 label'")

    def js(self, expression: str) -> Any:
        """The value of an expression."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true, whatever the page does meanwhile."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                if value := self.js(expression):
                    return value
            except RuntimeError:
                pass  # The page is just being replaced.
            time.sleep(0.02)
        raise TimeoutError(f"{expression} stays false. The page shows: {self.js('document.body.innerText')}")

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def press(self, key: str) -> None:
        """Press and release a key."""
        words = {"text": {"Enter": "\r"}.get(key, key)} if key == "Enter" or key not in CODES else {}
        code = CODES.get(key, ord(key.upper()[0]))
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **words)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        found = self.until(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});"
            " const r = e.getBoundingClientRect();"
            " return !e.disabled && r.width && {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **found)

    def type(self, words: str) -> None:
        """Type words where the cursor is."""
        self.call("Input.insertText", text=words)

    def faults(self) -> list[str]:
        """Errors of scripts, and what the security policy has blocked."""
        mine = [event for event in self.browser.events if event.get("sessionId") == self.session]
        thrown = [str(e["params"]) for e in mine if e["method"] == "Runtime.exceptionThrown"]
        return thrown + [e["params"]["entry"]["text"] for e in mine if e["method"] == "Log.entryAdded"]

    def picture(self, file: Path) -> None:
        """Write what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
