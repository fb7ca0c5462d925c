"""
`rtcodec watch http://host/study/room`: receive the studies of a room, prove and save them.

Nothing is saved that is not proven. After a cut it connects again and gets what is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rtcodec.bitstream.exact_format import STEPS
from rtcodec.codec.exact_files import read_notes, save_picture
from rtcodec.errors import ConfigError, InputError
from rtcodec.exact.frame import spacing_of
from rtcodec.session.study_message import Quality
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import RelayConnection, RelayLost, wait_set
from rtcodec_client.shell import run_async, say, token_of
from rtcodec_client.signalling import RelayUnreachable, SignallingClient, check_url, room_of
from rtcodec_client.study import StudySession
from rtcodec_client.study_store import HeldPicture, StudyStore

_CUTS_MAX: Final = 10
_PAUSE_S: Final = 1.0
_TICK_S: Final = 0.2
_AT_ONCE: Final = 2
"Pictures that are asked for at a time: the next is on its way while one is proven."


def is_study(url: str) -> bool:
    """Return whether *url* is of studies, not of a stream."""
    return urlsplit(url).path.startswith("/study/")


def watch_studies(args: argparse.Namespace) -> int:
    """
    Run `rtcodec watch` on studies.

    Raises:
        ConfigError: If the folder is none.
        InputError: If a picture could not be had, or not be proven.
    """
    url = check_url(args.url, kind="study")
    if len(args.output) > 1 or any(not path.is_dir() for path in args.output):
        raise ConfigError("--output of studies is one existing folder")
    command = _StudyCommand(url, args, args.output[0] if args.output else None)
    run_async(command.run)
    report = command.report()
    if args.json:
        print(json.dumps(report))
    if not report["verified"]:
        raise InputError(f"{url}: not every picture came and was proven")
    return 0


@dataclass(slots=True)
class _Progress:
    """What was said of a picture."""

    asked_us: int
    steps: int = 0
    preview_ms: float | None = None
    coarse_ms: float | None = None
    "Until a fourth of its rows and columns were there."

    within_ms: float | None = None
    "Until every sample of its first frame was within the bound that its header has."

    whole_ms: float | None = None
    saved: str | None = None


@dataclass(slots=True)
class _StudyCommand:
    url: str
    args: argparse.Namespace
    folder: Path | None
    store: StudyStore = field(default_factory=StudyStore)
    cuts: int = 0
    pictures: list[HeldPicture] = field(default_factory=list)
    progress: dict[str, _Progress] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Receive everything, over as many connections as it takes."""
        async with SignallingClient(self.url, token=token_of(self.args)) as client:
            while not stop.is_set():
                try:
                    await self._connect(client, stop)
                    return
                except (RelayLost, RelayUnreachable) as error:
                    self.cuts += 1
                    if self.cuts > _CUTS_MAX or (self.cuts == 1 and not self.pictures):
                        raise
                    say(f"{error}; connecting again")
                    await wait_set(stop, _PAUSE_S)

    async def _connect(self, client: SignallingClient, stop: asyncio.Event) -> None:
        connection = RelayConnection(client, stun_url=self.args.stun, on_wait=say)
        session = StudySession(connection, self.store)
        session.on_change = lambda picture: self._note(session, picture)
        try:
            async with connection.established(stop):
                work = asyncio.ensure_future(self._receive(session, stop))
                try:
                    await connection.run_until(work, stop)
                finally:
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                    await session.close()
        finally:
            await connection.peer.close()

    async def _receive(self, session: StudySession, stop: asyncio.Event) -> None:
        while not session.listed.is_set():
            await self._wait(session)
        self.pictures = session.pictures
        say(f"{room_of(self.url)}: {len(self.pictures)} pictures")
        left = list(self.pictures)
        asked: list[HeldPicture] = []
        while left or asked:
            for picture in [p for p in asked if p.is_settled]:
                asked.remove(picture)
                await self._save(picture)
            while left and len(asked) < _AT_ONCE:
                picture = left.pop(0)
                if self.progress.get(picture.id, _Progress(0)).saved is None:
                    self.progress.setdefault(picture.id, _Progress(monotonic_us()))
                    session.request(picture, preview=picture.preview is None)
                    asked.append(picture)
            await self._wait(session)

    async def _wait(self, session: StudySession) -> None:
        """Wait a moment; end with what is wrong with the session, if anything is."""
        await asyncio.wait({session.failed}, timeout=_TICK_S)
        if session.failed.done():
            session.failed.result()

    def _note(self, session: StudySession, picture: HeldPicture) -> None:
        """Say what is new of a picture that was asked for."""
        progress = self.progress.get(picture.id)
        if progress is None:
            return
        now_ms = (monotonic_us() - progress.asked_us) / 1000
        name = f"picture {picture.number + 1}"
        if picture.preview is not None and progress.preview_ms is None:
            progress.preview_ms = now_ms
            say(f"{name}: preview, not for diagnosis, after {now_ms:.0f} ms")
        if picture.part is None:
            return
        header, steps = picture.part.header(), picture.part.steps(0)
        if header is not None and progress.steps < steps < header.steps:
            if progress.steps == 0:
                session.tell(picture, 0, 1, Quality.COARSE)
            if steps >= STEPS - 2 and progress.coarse_ms is None:
                progress.coarse_ms = now_ms
            progress.steps = steps
            if steps == STEPS:
                progress.within_ms = now_ms
                what = f"within {header.bound} of every sample, not verified,"
            else:
                what = f"1 of {spacing_of(steps)} rows and columns"
            say(f"{name}: {what} after {now_ms:.0f} ms")
        if picture.is_settled and progress.whole_ms is None:
            progress.whole_ms = now_ms
            say(f"{name}: {picture.claim}, after {now_ms / 1000:.1f} s")

    async def _save(self, picture: HeldPicture) -> None:
        """Save a picture that is proven, and let go of what is large of it."""
        progress, part = self.progress[picture.id], picture.part
        if picture.problem is not None:
            say(f"picture {picture.number + 1}: {picture.problem}")
            return
        assert part is not None
        header = part.header()
        if self.folder is None or not picture.is_verified or header is None:
            return
        is_dicom = read_notes(header).get("kind") == "dicom"
        path = self.folder / f"{picture.id}{'.dcm' if is_dicom else '.npy'}"
        frames = [picture.samples[frame] for frame in range(part.n_frames)]
        await asyncio.to_thread(save_picture, path, header, frames, part.size_bytes)
        progress.saved = str(path)
        picture.samples = dict.fromkeys(range(part.n_frames), frames[0][:0])
        say(f"{path}: saved")

    def report(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        shown = [self._about(picture) for picture in self.pictures]
        return {
            "room": room_of(self.url),
            "pictures": shown,
            "verified": bool(shown) and all(p["verified"] for p in shown),
            "alarms": self.store.alarms,
            "cuts": self.cuts,
            "received_bytes": self.store.received_bytes,
        }

    def _about(self, picture: HeldPicture) -> dict[str, Any]:
        progress, part = self.progress.get(picture.id), picture.part
        return {
            "id": picture.id,
            "status": picture.claim,
            "verified": picture.is_verified,
            "frames_otherwise": len(picture.otherwise),
            "bytes": None if part is None else part.size_bytes,
            "repeated_bytes": 0 if part is None else part.repeated_bytes,
            "preview_bytes": 0 if picture.preview is None else _size(picture),
            "preview_ms": None if progress is None else progress.preview_ms,
            "coarse_ms": None if progress is None else progress.coarse_ms,
            "within": picture.about.get("within"),
            "within_ms": None if progress is None else progress.within_ms,
            "whole_ms": None if progress is None else progress.whole_ms,
            "saved": None if progress is None else progress.saved,
        }


def _size(picture: HeldPicture) -> int:
    assert picture.preview is not None
    return sum(map(len, picture.preview.packets))
