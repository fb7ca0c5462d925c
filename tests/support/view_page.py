"""The page that shows exact pictures, as tests see it."""

import base64

import numpy as np
from numpy.typing import NDArray

from support.browser import Tab

QUALITY = "document.querySelector('#quality').textContent"
NUMBERS = "document.querySelector('#numbers').innerText"
_SHOWN = """(() => {
  const canvas = document.querySelector("#canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return { rows: canvas.height, text: btoa(text) };
})()"""


async def shown_colors(tab: Tab) -> NDArray[np.int64]:
    """Return what the canvas has, [H, W, 3]."""
    canvas = await tab.evaluate(_SHOWN)
    data = np.frombuffer(base64.b64decode(canvas["text"]), np.uint8)
    return data.reshape(canvas["rows"], -1, 4)[..., :3].astype(np.int64)


async def shown(tab: Tab) -> NDArray[np.int64]:
    """Return the shades of gray that the canvas has, [H, W]."""
    colors = await shown_colors(tab)
    assert (colors == colors[..., :1]).all()
    return colors[..., 0]


def windowed(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.int64]:
    """Return what DICOM's linear window makes of rescaled samples. # PS3.3 C.11.2.1.2.1"""
    linear = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.clip(np.floor(linear + 0.5), 0, 255).astype(np.int64)


async def press_key(tab: Tab, name: str, *, times: int = 1) -> None:
    """Press a key over the picture."""
    event = f"new KeyboardEvent('keydown', {{key: '{name}'}})"
    for _ in range(times):
        await tab.evaluate(f"document.querySelector('#area').dispatchEvent({event})")


async def note_what_is_said(tab: Tab) -> None:
    """Keep all that the page says of the picture's quality from now on, in `said`."""
    await tab.evaluate(
        f"(globalThis.said = [{QUALITY}], new MutationObserver(() => said.push({QUALITY})).observe("
        "document.querySelector('#quality'), {childList: true, characterData: true}), 0)"
    )


def complaints(tab: Tab) -> list[str]:
    """Return what a tab complained about, but that a test reads its canvas."""
    return [text for text in tab.complaints if "willReadFrequently" not in text]
