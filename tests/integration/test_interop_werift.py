"""werift, a WebRTC stack in TypeScript, publishes VP8 that was encoded beforehand."""

import asyncio
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.null import NullEngine
from support.relay import KEYS, relay, token_for, until

NODE = shutil.which("node")
INTEROP = Path(__file__).parents[1] / "interop"
N_FRAMES = 90
WIDTH, HEIGHT = 160, 96

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (INTEROP / "node_modules" / "werift").is_dir(),
        reason="werift is not installed (.ci/interop)",
    ),
]


def picture(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draw a slope that moves by three levels a frame, as yuv420p."""
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    planes[:HEIGHT] = (rows + columns + 3 * number) % 200
    return planes


def write_ivf(path: Path) -> None:
    """Encode the clip with libvpx."""
    with av.open(str(path), "w", format="ivf") as out:
        stream = out.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        stream.bit_rate = 2_000_000
        for number in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


async def publish(url: str, clip: Path, token: str = "") -> tuple[int, str, str]:
    """Run the publisher to its end; return exit code, stdout and stderr."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        *(NODE, str(INTEROP / "publish_vp8.mjs"), url, str(clip), token),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_werift_publishes_and_every_frame_comes_out(tmp_path: Path) -> None:
    clip = tmp_path / "clip.ivf"
    write_ivf(clip)
    token = token_for("room", publish=True, subscribe=True)
    engine = NullEngine()
    decoder = PictureDecoder(engine, engine.bundle)
    async with relay(keys=KEYS, token=token) as (server, client):
        watch = await client.watch("room")
        code, out, err = await publish(f"{server.url}/whip/room", clip, token)
        assert code == 0, err
        said = json.loads(out)
        assert (said["frames"], said["left"]) == (N_FRAMES, 200)
        frames = server.relay.stats.frames
        assert frames.received == N_FRAMES
        assert frames.received == frames.encoded + frames.n_dropped
        assert frames.encoded >= N_FRAMES // 3  # a slow machine drops some
        await until(lambda: len(watch.frames) + watch.receiver.frames_lost == frames.sent)
        frame = watch.frames[-1]
        decoded = decoder.decode(frame.packets)
        assert server.relay.sessions_closed == {"left": 1}
    assert frame.timing is not None
    expected = picture(round(frame.timing.pts / 3000))[:HEIGHT]
    assert np.median(np.abs(decoded.planes.y.astype(int) - expected)) < 12


async def test_werift_without_the_token_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.ivf"
    write_ivf(clip)
    async with relay(keys=KEYS) as (server, _):
        code, _, err = await publish(f"{server.url}/whip/room", clip)
        assert server.relay.n_sessions == 0
    assert code == 1
    assert "401" in err
