"""A relay in this process, and peers to talk to it, all on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection

from rtcodec.packet.jitter_buffer import JitterConfig
from rtcodec.session.lobby import Limits
from rtcodec.webrtc import (
    LatentFrame,
    LatentReceiver,
    accept_answer,
    add_latent_receiver,
    add_video_track,
    create_offer,
    new_connection,
)
from rtcodec_client.load.link import Link
from rtcodec_server.access import Grant, Keyring
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.config import ServerConfig

ROOMY = AdmissionConfig(limit=0, shed=False)
"For tests of other things: a relay on a busy machine lets everybody in, and leaves nothing out."

KEYS = {"main": "0123456789abcdef" * 4}
"For relays under test that ask for tokens."

SDP = {"Content-Type": "application/sdp"}
TIMEOUT_S = 60.0
"For what takes a moment: a busy machine has all of it."
TICK_S = 0.02


def token_for(room: str = "*", *, valid_s: int = 600, **may: bool) -> str:
    """Make a token of `KEYS`; *may* are publish, subscribe, admin and study."""
    return sign(Grant(room=room, **dict[str, Any](may)), valid_s=valid_s)


def sign(grant: Grant, *, valid_s: int = 600) -> str:
    """Make a token of `KEYS` that allows what *grant* does."""
    return Keyring(KEYS).sign(grant, now_s=int(time.time()), valid_s=valid_s)


class MovingTrack(MediaStreamTrack):
    """A moving gradient; stops by itself after *n_frames*, if given."""

    kind = "video"

    def __init__(
        self, width: int = 160, height: int = 96, *, fps: int = 30, n_frames: int | None = None
    ) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.n_given = 0
        self._fps = fps
        self._n_frames = n_frames
        self._start_s: float | None = None

    async def recv(self) -> av.VideoFrame:
        """Give the next frame when it is due."""
        loop = asyncio.get_running_loop()
        if self._start_s is None:
            self._start_s = loop.time()
        if self.n_given == self._n_frames:
            await asyncio.Event().wait()
        await asyncio.sleep(self._start_s + self.n_given / self._fps - loop.time())
        picture = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        rows, columns = np.ogrid[: self.height, : self.width]
        picture[: self.height] = (rows + columns + 4 * self.n_given) & 0xFF
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self.n_given * 90_000 // self._fps, Fraction(1, 90_000)
        self.n_given += 1
        return frame


class RelayClient:
    """Speaks WHIP and WHEP to a relay under test."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self.http = aiohttp.ClientSession(url, headers=headers, timeout=timeout)
        self.connections: list[RTCPeerConnection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self.connections:
            await connection.close()
        await self.http.close()

    def new_connection(self) -> RTCPeerConnection:
        """Make a connection that is closed at the end."""
        connection = new_connection()
        self.connections.append(connection)
        return connection

    async def publisher_offer(
        self, track: MediaStreamTrack | None = None, codec: str = "VP8"
    ) -> tuple[RTCPeerConnection, str]:
        """Make a connection that offers a track."""
        connection = self.new_connection()
        add_video_track(connection, track or MovingTrack(), codecs=(codec,))
        return connection, await create_offer(connection, loopback_only=True)

    async def publish(
        self,
        room: str,
        track: MediaStreamTrack | None = None,
        *,
        codec: str = "VP8",
        link: Link | None = None,
    ) -> str:
        """Publish, through *link* if there is one, and return the session's path."""
        connection, offer = await self.publisher_offer(track, codec)
        answer, path, _ = await self._post(f"/whip/{room}", offer, link)
        await accept_answer(connection, answer)
        return path

    async def _post(
        self, path: str, offer: str, link: Link | None, query: str = ""
    ) -> tuple[str, str, list[str]]:
        """Return the answer, the session's path and what the answer links to."""
        if link is not None:
            offer = link.lead_offer(offer)
        async with self.http.post(path + query, data=offer, headers=SDP) as response:
            answer = await response.text()
            assert response.status == 201, answer
            location = urljoin(path, response.headers["Location"])
            links = response.headers.getall("Link", [])
        if link is not None:
            answer = link.lead_answer(answer, "127.0.0.1")
        return answer, location, links

    async def watch(
        self,
        room: str,
        *,
        models: tuple[str, ...] = (),
        query: str = "",
        link: Link | None = None,
        max_frames: int = 1000,
    ) -> "Watch":
        """Subscribe, with the patience that a busy machine needs."""
        connection = self.new_connection()
        config = JitterConfig(patience_us=2_000_000)
        ready = add_latent_receiver(connection, max_frames=max_frames, config=config)
        offer = await create_offer(connection, models=models, loopback_only=True)
        answer, path, links = await self._post(f"/whep/{room}", offer, link, query)
        description = await accept_answer(connection, answer)
        parameters = description.of_kind("video")[0].latent_parameters
        assert parameters is not None
        return Watch(connection, await ready, path, parameters["model"], links)


class Watch:
    """A subscription and what came of it."""

    def __init__(
        self,
        connection: RTCPeerConnection,
        receiver: LatentReceiver,
        path: str,
        model: str,
        links: list[str],
    ) -> None:
        self.connection = connection
        self.receiver = receiver
        self.path = path
        self.model = model
        self.links = links
        self.frames: list[LatentFrame] = []
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for frame in self.receiver:
            self.frames.append(frame)


async def until(condition: Callable[[], object], *, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(TICK_S)


@asynccontextmanager
async def relay(
    *,
    limits: Limits | None = None,
    psnr: str = "auto",
    qp: int = 20,
    bitrate_kbps: int | None = None,
    token: str | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[RunningServer, RelayClient]]:
    """Run a relay with the null engine, and a client for it that sends *token*."""
    settings.setdefault("admission", ROOMY)
    config = ServerConfig(
        port=0,
        engine="null",
        psnr=psnr,
        qp=qp,
        bitrate_kbps=bitrate_kbps,
        limits=limits or Limits(),
        **settings,
    )
    async with running_server(config) as server:
        await server.ready
        async with RelayClient(server.url, token=token) as client:
            yield server, client
