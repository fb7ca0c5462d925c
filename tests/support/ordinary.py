"""Publishers and viewers that know nothing of our codec: plain aiortc."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import urljoin

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from rtcodec.webrtc import accept_answer, create_offer
from support.relay import SDP, RelayClient

PERIOD = 40
"Frames after which a `WaveTrack` repeats itself."


def wave(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return the luma of a frame: soft waves that every encoder carries well, each its own."""
    rows, columns = np.ogrid[:height, :width]
    turn = 2 * np.pi * (number % PERIOD) / PERIOD
    swell = np.sin(columns / 17 + turn) + np.cos(rows / 13 + 2 * turn) + np.sin(turn)
    luma: NDArray[np.uint8] = (128 + 35 * swell).round().astype(np.uint8)
    return luma


def best_psnr_db(luma: NDArray[np.uint8]) -> float:
    """Return the PSNR of a picture against the frame of a `WaveTrack` that it is closest to."""
    height, width = luma.shape
    errors = [
        float(np.mean((luma.astype(np.float64) - wave(number, width, height)) ** 2))
        for number in range(PERIOD)
    ]
    return float(10 * np.log10(255**2 / max(min(errors), 1e-9)))


class WaveTrack(MediaStreamTrack):
    """Waves at 30 frames per second."""

    kind = "video"

    def __init__(self, width: int = 160, height: int = 96, *, fps: int = 30) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.n_given = 0
        self._fps = fps
        self._start_s: float | None = None

    async def recv(self) -> av.VideoFrame:
        """Give the next frame when it is due."""
        loop = asyncio.get_running_loop()
        if self._start_s is None:
            self._start_s = loop.time()
        await asyncio.sleep(self._start_s + self.n_given / self._fps - loop.time())
        picture = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        picture[: self.height] = wave(self.n_given, self.width, self.height)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self.n_given * 90_000 // self._fps, Fraction(1, 90_000)
        self.n_given += 1
        return frame


@dataclass
class Viewer:
    """An ordinary viewer and what it saw."""

    connection: RTCPeerConnection
    answer: str = ""
    path: str = ""
    frames: list[av.VideoFrame] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None

    @property
    def psnr_db(self) -> list[float]:
        """Of every picture, against the wave that it shows."""
        return [best_psnr_db(luma_of(frame)) for frame in self.frames]

    def on_track(self, track: MediaStreamTrack) -> None:
        """Read the pictures that come."""
        if track.kind != "video":
            return
        self.task = asyncio.ensure_future(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.VideoFrame)
            self.frames.append(frame)


def luma_of(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return the luma of a decoded frame, uint8 [H, W]."""
    planes: Any = frame.to_ndarray(format="yuv420p")
    luma: NDArray[np.uint8] = planes[: frame.height]
    return luma


async def view(
    client: RelayClient,
    room: str,
    codecs: Sequence[str] = ("VP8",),
    *,
    audio: bool = False,
    query: str = "",
) -> Viewer:
    """Watch a room over WHEP as a peer that decodes *codecs* and no other."""
    viewer, offer = await viewer_offer(client, codecs, audio=audio)
    async with client.http.post(f"/whep/{room}{query}", data=offer, headers=SDP) as response:
        viewer.answer = await response.text()
        assert response.status == 201, viewer.answer
        viewer.path = urljoin(f"/whep/{room}", response.headers["Location"])
    await accept_answer(viewer.connection, viewer.answer)
    return viewer


async def viewer_offer(
    client: RelayClient, codecs: Sequence[str], *, audio: bool = False
) -> tuple[Viewer, str]:
    """Make a viewer that decodes *codecs* and no other, and what it offers."""
    connection = client.new_connection()
    if audio:
        connection.addTransceiver("audio", direction="recvonly")
    transceiver = connection.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    wanted = [c for name in codecs for c in known.codecs if c.name == name]
    rtx = [codec for codec in known.codecs if codec.name == "rtx"]
    transceiver.setCodecPreferences(wanted + rtx)
    viewer = Viewer(connection)
    connection.on("track", viewer.on_track)
    return viewer, await create_offer(connection, loopback_only=True)
