"""Headless Chromium with a fake camera, driven through its DevTools Protocol."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

START_S = 60.0
TIMEOUT_S = 90.0
"On a machine that does much else; nothing takes seconds where it is left alone."

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)


@asynccontextmanager
async def chromium(url: str, profile: Path, *options: str) -> AsyncIterator[None]:
    """Open a page in a headless browser with a fake camera and microphone."""
    assert CHROMIUM is not None
    # it leaves files behind, and sockets whose paths must be short
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *_OPTIONS,
            *(options or ("--use-fake-ui-for-media-stream",)),
            f"--user-data-dir={profile}",
            url,
            env=os.environ | {"TMPDIR": scratch},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), TIMEOUT_S)


@dataclass
class Tab:
    """One page, and what it complained about."""

    browser: "Browser"
    session: str
    workers: list[str] = field(default_factory=list)
    "Sessions of its workers, where it was told to attach to them."

    complaints: list[str] = field(default_factory=list)
    "Errors on its console, violations of its policy, exceptions that nobody caught."

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression, or its promise, comes to."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true; return its value."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not (value := await self.evaluate(expression)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            pytest.fail(f"never true: {expression}\n{text}\n{self.complaints}")
        return value

    async def press(self, selector: str) -> None:
        """Press a button as somebody with a mouse does, which counts as a gesture."""
        await self.send(
            "Runtime.evaluate",
            expression=f"document.querySelector({json.dumps(selector)}).click()",
            userGesture=True,
        )

    async def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in a field for one."""
        root = (await self.send("DOM.getDocument"))["root"]["nodeId"]
        node = await self.send("DOM.querySelector", nodeId=root, selector=selector)
        await self.send("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    async def screenshot(self) -> bytes:
        """Return what it shows as PNG."""
        answer = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol to this page."""
        return await self.browser.send(method, self.session, **parameters)


class Browser:
    """The other end of the protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    async def open(self, url: str, *, width: int = 1280, height: int = 800) -> Tab:
        """Open a page in a window of its own, so that none is in the background."""
        target = await self.send("Target.createTarget", url="about:blank", newWindow=True)
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab = self._tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Log", "Page", "Runtime"):
            await tab.send(f"{domain}.enable")
        await tab.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        await tab.send("Page.navigate", url=url)
        await tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab

    async def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command; return its result."""
        number = len(self._answers) + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(TIMEOUT_S):
            result: dict[str, Any] = await answer
        return result

    async def read(self) -> None:
        """Read answers and events until the browser ends."""
        async for message in self._socket:
            document = message.json()
            if "id" in document:
                answer = self._answers[document["id"]]
                if "error" in document:
                    answer.set_exception(RuntimeError(str(document["error"])))
                elif not answer.done():
                    answer.set_result(document["result"])
            elif (tab := self._tabs.get(document.get("sessionId", ""))) is not None:
                if document["method"] == "Target.attachedToTarget":
                    tab.workers.append(document["params"]["sessionId"])
                tab.complaints += _complaints(document["method"], document["params"])


def _complaints(event: str, about: dict[str, Any]) -> list[str]:
    if event == "Runtime.exceptionThrown":
        return [json.dumps(about["exceptionDetails"])]
    if event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
        return [json.dumps(about["args"])]
    if event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
        return [f"{about['entry']['text']} {about['entry'].get('url', '')}".strip()]
    return []


@asynccontextmanager
async def browser(profile: Path, *options: str) -> AsyncIterator[Browser]:
    """Run a browser; *options* instead of allowing every page the camera."""
    port_file = profile / "DevToolsActivePort"
    options = options or ("--use-fake-ui-for-media-stream",)
    async with chromium("about:blank", profile, "--remote-debugging-port=0", *options):
        async with asyncio.timeout(START_S):
            while not port_file.exists() or port_file.read_text().count("\n") < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        port, path = port_file.read_text().split("\n")[:2]
        url = f"ws://127.0.0.1:{port}{path}"
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(url, max_msg_size=0) as socket,
        ):
            controlled = Browser(socket)
            reading = asyncio.ensure_future(controlled.read())
            try:
                yield controlled
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
