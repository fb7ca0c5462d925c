"""Meetecho's simple-whip-client (GStreamer's webrtcbin, trickled candidates) publishes."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.null import NullEngine
from support.relay import KEYS, relay, token_for, until

CLIENT = shutil.which("whip-client")
COMPILER = shutil.which("cc")
SHIM = Path(__file__).parents[1] / "interop" / "loopback_nice.c"
PLUGINS = (
    "audioconvert", "audioresample", "audiotestsrc", "coreelements", "dtls", "nice", "opus", "rtp",
    "rtpmanager", "srtp", "videoconvertscale", "videotestsrc", "volume", "vpx", "webrtc",
)  # fmt: skip
N_FRAMES = 60
TIMEOUT_S = 60.0

PIPELINE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=96,framerate=30/1 ! "
    "videoconvert ! queue ! vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay pt=96 ssrc=2 ! "
    "queue ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
)


def plugins() -> dict[str, Path]:
    """Find the plugins of GStreamer that are needed, by name."""
    folders = [*Path("/usr/lib").glob("*/gstreamer-1.0"), Path("/usr/lib/gstreamer-1.0")]
    paths = {name: [f / f"libgst{name}.so" for f in folders] for name in PLUGINS}
    return {name: p for name, options in paths.items() for p in options if p.exists()}


MISSING = [name for name in PLUGINS if name not in plugins()]

pytestmark = [
    pytest.mark.skipif(CLIENT is None, reason="simple-whip-client is not installed (.ci/interop)"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler for what it is preloaded with"),
    pytest.mark.skipif(bool(MISSING), reason=f"GStreamer lacks {', '.join(MISSING)} (.ci/interop)"),
]


async def environment(folder: Path) -> dict[str, str]:
    """Make what the client needs around it: only the plugins it uses, and the shim."""
    assert COMPILER is not None
    shim = folder / "loopback_nice.so"
    name = "-Wl,-soname,libgupnp-igd-1.0.so.4"
    compiling = await asyncio.create_subprocess_exec(
        COMPILER, "-shared", "-fPIC", name, "-o", str(shim), str(SHIM)
    )
    assert await compiling.wait() == 0
    for name, path in plugins().items():
        (folder / f"libgst{name}.so").symlink_to(path)
    return os.environ | {
        "LD_PRELOAD": str(shim),
        "GST_PLUGIN_SYSTEM_PATH": str(folder),
        "GST_REGISTRY": str(folder / "registry.bin"),
    }


@asynccontextmanager
async def publishing(
    url: str, folder: Path, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the client; it takes its leave at the end."""
    assert CLIENT is not None
    with (folder / "said.txt").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            CLIENT, "--disable-colors", "--url", url, "--video", PIPELINE, *options,
            stdout=said, stderr=said, env=await environment(folder),
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), TIMEOUT_S)
            finally:
                if process.returncode is None:
                    process.kill()


@pytest.mark.parametrize("options", [(), ("--no-trickle",)])
async def test_simple_whip_client_publishes_and_leaves(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    token = token_for("room", publish=True, subscribe=True)
    engine = NullEngine()
    decoder = PictureDecoder(engine, engine.bundle)
    async with relay(keys=KEYS, token=token) as (server, client):
        watch = await client.watch("room")
        url = f"{server.url}/whip/room"
        async with publishing(url, tmp_path, "--token", token, *options) as process:
            await until(
                lambda: len(watch.frames) >= N_FRAMES or process.returncode is not None,
                timeout_s=TIMEOUT_S,
            )
            assert process.returncode is None, (tmp_path / "said.txt").read_text()
        await until(lambda: server.relay.n_sessions == 1)
        assert server.relay.sessions_closed == {"left": 1}  # by DELETE, not by being lost
        frames = server.relay.stats.frames
        assert frames.received >= N_FRAMES
        await until(lambda: len(watch.frames) + watch.receiver.frames_lost == frames.sent)
        decoded = decoder.decode(watch.frames[-1].packets)
    assert (decoded.planes.width, decoded.planes.height) == (160, 96)
    assert int(decoded.planes.y.max()) - int(decoded.planes.y.min()) > 100  # a white ball


async def test_simple_whip_client_without_the_token_is_refused(tmp_path: Path) -> None:
    async with relay(keys=KEYS) as (server, _):
        async with publishing(f"{server.url}/whip/room", tmp_path) as process:
            await asyncio.wait_for(process.wait(), TIMEOUT_S)
        assert server.relay.n_sessions == 0
    assert "[401]" in (tmp_path / "said.txt").read_text()
