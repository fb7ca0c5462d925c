"""The page of progressive pictures in headless Chromium: any beginning of a file is shown."""

import base64
from pathlib import Path

import numpy as np
import pytest

from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.entropy.build import PROGRESSIVE_WASM
from rtcodec.media.color import FULL_BT601, planes_to_rgb
from rtcodec.progressive.picture import decode_picture, encode_picture
from rtcodec.types import Planes
from rtcodec.web_decoder import web_decoder_files
from support.browser import Tab, browser, needs_chromium
from support.pictures import picture
from support.relay import relay

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(
        PROGRESSIVE_WASM.name not in web_decoder_files(),
        reason="no wasm: clang and lld (.ci/interop)",
    ),
]

NUMBERS = "document.querySelector('#numbers').innerText"
SHOWN = """(() => {
  const canvas = document.querySelector("#canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return btoa(text);
})()"""


async def is_shown(tab: Tab, data: bytes) -> bool:
    """Say whether the canvas has what *data* decodes to."""
    planes = Planes(*decode_picture(read_progressive(data)))
    wanted = planes_to_rgb(planes, FULL_BT601).astype(int)
    rgba = np.frombuffer(base64.b64decode(await tab.evaluate(SHOWN)), np.uint8)
    seen = rgba.reshape(planes.height, planes.width, 4)[..., :3].astype(int)
    return bool(np.abs(seen - wanted).max() <= 1)  # converted in floats, here and there


async def test_a_file_is_shown_whole_and_from_as_many_bytes_as_the_slider_says(
    tmp_path: Path,
) -> None:
    planes = picture(150, 100)
    data = encode_picture(
        (planes.y, planes.u, planes.v), color_range=ColorRange.FULL, color_matrix=FULL_BT601.matrix
    )
    path, broken = tmp_path / "photo.rtc", tmp_path / "broken.rtc"
    path.write_bytes(data)
    broken.write_bytes(b"\x89RTX" + data[4:])
    async with relay() as (server, _), browser(tmp_path / "profile") as chromium:
        tab = await chromium.open(f"{server.url}/photo")
        await tab.give_file("#file", path)
        await tab.until(f"/whole\\s+yes/.test({NUMBERS})")
        assert await is_shown(tab, data)

        n_bytes = round(32 * (len(data) / 32) ** 0.5)
        await tab.evaluate(
            "(() => { const b = document.querySelector('#bytes'); b.value = '500';"
            " b.dispatchEvent(new Event('input')); })()"
        )
        await tab.until(f"/bytes\\s+{n_bytes} of/.test({NUMBERS}.replaceAll(',', ''))")
        assert await is_shown(tab, data[:n_bytes])

        await tab.evaluate("document.querySelector('#play').click()")
        await tab.until(f"/whole\\s+yes/.test({NUMBERS})")
        assert await is_shown(tab, data)

        await tab.give_file("#file", broken)
        await tab.until("!document.querySelector('#message').hidden")
        message = await tab.evaluate("document.querySelector('#message').innerText")
        assert "not a progressive picture" in message.lower()
        assert [text for text in tab.complaints if "willReadFrequently" not in text] == []
