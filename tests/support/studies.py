"""Studies in a folder, offered by a relay in this process, and viewers of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec_client.connection import RelayConnection
from rtcodec_client.load.link import Link, PeerSignalling
from rtcodec_client.study import StudySession
from rtcodec_client.study_store import HeldPicture, StudyStore
from support.dicom_files import dicom_dataset, write_dataset
from support.relay import until

WINDOW = {"WindowCenter": 2000, "WindowWidth": 4000, "BitsStored": 12, "HighBit": 11}


def smooth_frames(count: int, height: int, width: int, *, seed: int = 1) -> NDArray[np.uint16]:
    """Return frames [N, H, W] of 12 bits: waves, and a little noise that takes bytes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    waves = [
        2000
        + 1500 * np.sin(rows / 31 + k) * np.cos(columns / 23)
        + rng.normal(0, 8, (height, width))
        for k in range(count)
    ]
    return np.clip(np.round(np.stack(waves)), 0, 4095).astype(np.uint16)


def put_picture(path: Path, frames: NDArray[Any], **tags: Any) -> NDArray[Any]:
    """Write frames as DICOM; return them as they come back: [N, H, W, 1]."""
    write_dataset(path, dicom_dataset(frames, **{**WINDOW, **tags}))
    return frames[..., None]


class Viewing:
    """A session, and a way to wait for what comes of it."""

    def __init__(self, session: StudySession) -> None:
        self.session = session

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds, or raise what is wrong with the session."""
        failed = self.session.failed
        await until(lambda: failed.done() or condition())
        if failed.done():
            failed.result()

    async def picture(self, number: int = 0) -> HeldPicture:
        """Return a picture once all are listed."""
        await self.until(self.session.listed.is_set)
        return self.session.pictures[number]


class HasUrl(Protocol):
    """A relay."""

    @property
    def url(self) -> str:
        """Its address."""


@asynccontextmanager
async def viewing(
    server: HasUrl,
    store: StudyStore,
    *,
    room: str = "demo",
    token: str | None = None,
    link: Link | None = None,
) -> AsyncIterator[Viewing]:
    """View the studies of a room."""
    url = f"{server.url}/study/{room}"
    async with PeerSignalling(url, token=token, link=link, relay_host="127.0.0.1") as client:
        connection = RelayConnection(client)
        one = Viewing(StudySession(connection, store))
        async with connection.established(asyncio.Event()):
            yield one
            await one.session.close()
