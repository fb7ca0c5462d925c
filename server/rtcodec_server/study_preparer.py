"""
Makes exact files and previews of pictures, in a process of its own that may die of them.

    start {model, engine} -> hello
    prepare {job, path, uids, target, ...} -> read {...} -> preview {...} -> ready | failed

What it says of a picture is numbers and known words: neither names of files nor text from them.
"""

import asyncio
import base64
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rtcodec.bitstream.exact_file import ExactReader, ExactWriter
from rtcodec.bundle import find_bundle
from rtcodec.codec.exact_codecs import decode_frame
from rtcodec.codec.exact_files import decode_frames, read_notes, read_picture, write_notes
from rtcodec.dicom.display import read_display
from rtcodec.dicom.picture import Picture, check_size
from rtcodec.engine.loader import open_engine
from rtcodec.errors import BitstreamError, ConfigError, InputError, RtcodecError
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven
from rtcodec.exact.plan import TILE_BITS, plan_picture
from rtcodec.process import ControlChannel, Message, adopt_channel
from rtcodec_server.study_preview import LEAST_SIDE, SHARE, PreviewMaker
from rtcodec_server.study_source import EXACT_SUFFIX

MAX_FRAMES: Final = 8192
"Of one picture: its index fits one message."

_LARGE: Final = (
    1 << 20
)  # samples of a frame: from here on a region should not be whole tiles of 256
_LARGE_TILE_BITS: Final = 7  # measured: docs/adr/045

_USUAL_RATIO: Final = 8.0  # raw bytes to exact ones; above most, so that a preview stays small
_NICENESS: Final = 5
"Live streams go first."


class Preparer:
    """Does one job after the other."""

    def __init__(self, end: socket.socket) -> None:
        self._jobs: asyncio.Queue[Message] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._previews: PreviewMaker | None = None
        self._channel = ControlChannel(
            end,
            on_message=lambda kind, fields, _: self._jobs.put_nowait({"kind": kind, **fields}),
            on_close=lambda: os._exit(0),
        )

    async def run(self) -> None:
        """Work until nobody is left to work for."""
        while True:
            message = await self._jobs.get()
            if message["kind"] == "start":
                self._previews = await asyncio.to_thread(_open_previews, message["model"])
                self._channel.send("hello", previews=self._previews is not None)
            else:
                await asyncio.to_thread(self._prepare, message)

    def _prepare(self, job: Message) -> None:
        path, target = Path(job["path"]), Path(job["target"])
        partial = target.with_suffix(".partial")
        try:
            if path.suffix.lower() == EXACT_SUFFIX:
                self._check_exact(job["job"], path, partial, job["within"])
            else:
                picture = read_picture(
                    path, keep_identity=False, allow_burned_in=job["allow_burned_in"]
                )
                if "uids" in picture.notes:
                    picture.notes["uids"] = job["uids"]
                self._encode(job["job"], picture, partial, job["within"])
            partial.replace(target)
        except Exception as error:  # whatever foreign libraries raise may quote what they read
            partial.unlink(missing_ok=True)
            self._tell("failed", job=job["job"], reason=_reason(error, path))
            return
        self._tell("ready", job=job["job"])

    def _encode(self, job: int, picture: Picture, target: Path, bound: int) -> None:
        self._tell_read(job, picture, bound=bound)
        raw = picture.frames[0].nbytes
        self._tell_preview(job, picture, max_bytes=int(SHARE * raw / _USUAL_RATIO))
        header = plan_picture(
            picture.frames,
            bits=picture.bits,
            signed=picture.signed,
            bound=bound,
            may_drop_bound=True,
            notes=write_notes(picture, 0),
        )
        if header.bound != bound:
            self._tell_read(job, picture)
        is_large = header.width * header.height >= _LARGE
        header = replace(header, tile_bits=_LARGE_TILE_BITS if is_large else TILE_BITS)
        coder = FrameCoder(header)
        with target.open("wb") as file:
            writer = ExactWriter(file, header)
            for frame in picture.frames:
                writer.write(coder.encode(frame, encode_otherwise))
            writer.close()

    def _check_exact(self, job: int, path: Path, target: Path, bound: int) -> None:
        """Copy an exact file, each frame decoded and proven; code anew what viewers cannot read."""
        with path.open("rb") as file:
            reader = ExactReader(file)
            header = reader.header
            notes = read_notes(header)
            if notes.get("identity"):
                raise InputError("it holds an identity: encode it without --keep-identity")
            if header.is_whole:
                file.seek(0)
                header, frames, _ = decode_frames(file)
                picture = Picture(frames, header.bits, header.signed, notes)
                self._encode(job, picture, target, bound)
            else:
                self._copy(job, reader, notes, target)

    def _copy(self, job: int, reader: ExactReader, notes: dict[str, Any], target: Path) -> None:
        header = reader.header
        check_size(header.frames, header.height, header.width, header.channels)
        with target.open("wb") as copy:
            coder, writer = FrameCoder(header), ExactWriter(copy, header)
            for number, coded in enumerate(reader):
                frame = decode_frame(header, coder, coded)
                if not is_proven(header, coded, frame):
                    raise InputError(f"frame {number} is not what was encoded: its hash differs")
                writer.write(coded)
                if number == 0:
                    first = [frame] * header.frames
                    picture = Picture(first, header.bits, header.signed, notes)
                    self._tell_read(job, picture, max_error=header.max_error, bound=header.bound)
                    size = sum(map(len, coded.payloads))
                    self._tell_preview(job, picture, max_bytes=int(SHARE * size))
            writer.close()

    def _tell_read(self, job: int, picture: Picture, *, max_error: int = 0, bound: int = 0) -> None:
        if len(picture.frames) > MAX_FRAMES:
            raise InputError(f"{len(picture.frames)} frames are more than {MAX_FRAMES}")
        height, width, components = picture.frames[0].shape
        about = {
            "width": width,
            "height": height,
            "components": components,
            "frames": len(picture.frames),
            "bits": picture.bits,
            "signed": picture.signed,
            "max_error": max_error,
            "within": bound,
            **read_display(picture.notes).as_json(),
        }
        self._tell("read", job=job, about=about)

    def _tell_preview(self, job: int, picture: Picture, *, max_bytes: int) -> None:
        still = None
        if self._previews is not None and min(picture.frames[0].shape[:2]) >= LEAST_SIDE:
            display = read_display(picture.notes)
            still = self._previews.make(picture, 0, display, max_bytes=max_bytes)
        if still is None:
            self._tell("preview", job=job, about=None, packets=[])
            return
        about = {
            "width": still.width,
            "height": still.height,
            "bytes": still.size_bytes,
            "window": still.window,
            "frame": 0,
        }
        packets = [base64.b64encode(packet).decode() for packet in still.packets]
        self._tell("preview", job=job, about=about, packets=packets)

    def _tell(self, kind: str, **fields: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: self._channel.send(kind, **fields))


def _open_previews(model: str) -> PreviewMaker | None:
    """Load the model; without one, or what runs it, there are no previews."""
    if not model:
        return None
    try:
        bundle = find_bundle(model)
        return PreviewMaker(open_engine("auto", bundle, threads=1), bundle)
    except RtcodecError:
        return None


def _reason(error: Exception, path: Path) -> str:
    """Say what is wrong without naming the file, whose name may be a person's."""
    if isinstance(error, BitstreamError):
        words = error.message
    elif isinstance(error, InputError | ConfigError):
        words = str(error)
    else:
        words = f"cannot be read ({type(error).__name__})"
    words = words.removeprefix(f"{path}: ").replace("--allow-burned-in", "allow_burned_in")
    return "cannot be read" if path.name in words else words


def main() -> None:
    """Serve the relay that started this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    end = adopt_channel()
    os.nice(_NICENESS)

    async def work() -> None:
        await Preparer(end).run()

    asyncio.run(work())


if __name__ == "__main__":
    main()
