"""FFmpeg's own WHIP muxer, through PyAV in a process of its own, publishes to the relay."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.null import NullEngine
from support.certificate import write_certificate
from support.relay import KEYS, relay, token_for, until

N_FRAMES = 90

PUBLISHER = """
import sys, time
from fractions import Fraction
import av, numpy as np

url, cert, key, token, n_frames = *sys.argv[1:5], int(sys.argv[5])
options = {"cert_file": cert, "key_file": key, "handshake_timeout": "15000"}
if token:
    options["authorization"] = token
with av.open(url, "w", format="whip", options=options) as out:
    stream = out.add_stream("libx264", rate=30)
    stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
    stream.codec_context.gop_size = 30
    stream.codec_context.max_b_frames = 0
    stream.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    start = time.monotonic()
    for index in range(n_frames):
        time.sleep(max(0.0, start + index / 30 - time.monotonic()))
        picture = np.full((144, 160), 128, np.uint8)
        picture[:96] = (np.add.outer(np.arange(96), np.arange(160)) + 3 * index) % 200
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 30)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
"""


async def publish(url: str, folder: Path, token: str = "") -> tuple[int, str]:
    """Run FFmpeg's publisher to its end; return exit code and what it said."""
    # self-signed, ECDSA: the muxer's own kind fails in DTLS
    cert, key = write_certificate(folder, "publisher")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PUBLISHER, url, str(cert), str(key), token, str(N_FRAMES)),
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, err.decode()


@pytest.mark.parametrize("token", [None, token_for("room", publish=True, subscribe=True)])
async def test_ffmpeg_publishes_and_its_frames_come_out_decoded(
    tmp_path: Path, token: str | None
) -> None:
    keys = {} if token is None else KEYS
    engine = NullEngine()
    decoder = PictureDecoder(engine, engine.bundle)
    async with relay(keys=keys, token=token) as (server, client):
        watch = await client.watch("room")
        code, err = await publish(f"{server.url}/whip/room", tmp_path, token or "")
        assert code == 0, err
        await until(lambda: server.relay.n_sessions == 1)  # it took its leave with DELETE
        frames, count = watch.frames, server.relay.stats.frames
        assert count.received >= N_FRAMES - 3  # nothing asks for what is lost at the very end
        assert count.encoded >= N_FRAMES // 3  # a slow machine drops some
        assert count.encoded == count.sent + count.unsent
        await until(lambda: len(frames) + watch.receiver.frames_lost == count.sent)
        decoded = decoder.decode(frames[-1].packets)
    assert (decoded.planes.width, decoded.planes.height) == (160, 96)
    assert decoded.is_complete
    assert int(decoded.planes.y.max()) - int(decoded.planes.y.min()) > 100


async def test_ffmpeg_without_the_token_is_refused(tmp_path: Path) -> None:
    async with relay(keys=KEYS) as (server, _):
        code, err = await publish(f"{server.url}/whip/room", tmp_path)
        assert code != 0
        assert server.relay.n_sessions == 0
    assert "401" in err or "Error" in err
