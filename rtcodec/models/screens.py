"""
Screens drawn by code: windows, text, code, charts and pasted photographs, for training.

Real screen captures under a free licence are few, and shared screens are half of what calls carry.
Deterministic for a seed. Needs matplotlib's fonts, which come with the package.
"""

import random
import string
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral")
KEYWORDS = ("def", "return", "import", "class", "for", "if", "else", "while", "None", "self")


class ScreenPainter:
    """Draws one screen after another, each with a theme of its own."""

    def __init__(self, photographs: Sequence[NDArray[np.uint8]], *, side: int, seed: int) -> None:
        """
        Args:
            photographs: RGB [H, W, 3], pasted into some windows; may be empty.
            side: Width and height of a screen in pixels.
            seed: Of all choices.
        """
        self._photographs = photographs
        self._side = side
        self._random = random.Random(seed)

    def draw(self) -> NDArray[np.uint8]:
        """Return the next screen, RGB uint8 [side, side, 3]."""
        rng = self._random
        self._dark = rng.random() < 0.45
        self._image = Image.new("RGB", (self._side, self._side), self._background())
        self._draw = ImageDraw.Draw(self._image)
        if rng.random() < 0.25:
            self._gradient()
        for _ in range(rng.randint(1, 4)):
            self._window()
        return np.asarray(self._image)

    def _background(self) -> Colour:
        base = self._random.randint(0, 60) if self._dark else self._random.randint(215, 255)
        return self._near(base)

    def _near(self, base: int) -> Colour:
        r, g, b = (max(0, min(255, base + self._random.randint(-12, 12))) for _ in range(3))
        return r, g, b

    def _ink(self) -> Colour:
        rng = self._random
        if rng.random() < 0.6:
            return self._near(rng.randint(190, 255) if self._dark else rng.randint(0, 70))
        r, g, b = (rng.randint(0, 255) for _ in range(3))
        return r, g, b

    def _gradient(self) -> None:
        ends = [np.array(self._ink(), float) for _ in range(2)]
        part = np.linspace(0, 1, self._side)[:, None, None]
        rows = ends[0] * (1 - part) + ends[1] * part  # [side, 1, 3]
        picture = np.broadcast_to(rows, (self._side, self._side, 3)).astype(np.uint8)
        self._image.paste(Image.fromarray(picture))

    def _window(self) -> None:
        rng, side = self._random, self._side
        left, top = rng.randint(-side // 4, side // 2), rng.randint(-side // 4, side // 2)
        box = (left, top, left + rng.randint(side // 3, side), top + rng.randint(side // 3, side))
        self._draw.rounded_rectangle(
            box, rng.choice((0, 0, 6, 12)), self._background(), self._ink(), rng.choice((0, 1, 2))
        )
        if rng.random() < 0.6:
            bar = (box[0], box[1], box[2], box[1] + rng.randint(16, 30))
            self._draw.rectangle(bar, self._ink() if rng.random() < 0.4 else self._background())
            self._draw.text((box[0] + 8, box[1] + 2), self._words(3), self._ink(), self._font(13))
        contents = (self._text, self._chart, self._photograph, self._icons)
        rng.choices(contents, (8, 1, 2, 0.7))[0]((box[0] + 6, box[1] + 32, box[2] - 6, box[3] - 6))

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
        return ImageFont.truetype(str(folder / f"{self._random.choice(FONTS)}.ttf"), size)

    def _words(self, count: int) -> str:
        rng = self._random
        words = []
        for _ in range(count):
            if rng.random() < 0.15:
                words.append(rng.choice(KEYWORDS))
                continue
            letters = string.ascii_lowercase if rng.random() < 0.8 else string.printable[:94]
            word = "".join(rng.choices(letters, k=rng.randint(1, 10)))
            words.append(word.capitalize() if rng.random() < 0.2 else word)
        return " ".join(words)

    def _text(self, box: tuple[int, int, int, int]) -> None:
        rng = self._random
        size = rng.choice((9, 10, 11, 12, 13, 14, 16, 20, 28))
        font, ink = self._font(size), self._ink()
        code, spacing = rng.random() < 0.4, rng.uniform(1.15, 1.8)
        y = float(box[1])
        while y < min(box[3], self._side) - size:
            if rng.random() > 0.1:
                indent = rng.randint(0, 4) * size * 2 if code else 0
                colour = self._ink() if code and rng.random() < 0.5 else ink
                text = self._words(rng.randint(1, 12))
                self._draw.text((box[0] + indent, y), text, colour, font)
            y += size * spacing

    def _chart(self, box: tuple[int, int, int, int]) -> None:
        rng = self._random
        columns = rng.randint(4, 24)
        width = max(2, (box[2] - box[0]) // columns)
        level, points = rng.random(), []
        ink = self._ink()
        for i in range(columns):
            level = min(1.0, max(0.0, level + rng.uniform(-0.3, 0.3)))
            points.append((box[0] + i * width, int(box[3] - level * max(1, box[3] - box[1]))))
        if rng.random() < 0.5:
            self._draw.line(points, ink, rng.randint(1, 3))
        else:
            for x, y in points:
                self._draw.rectangle((x, min(y, box[3]), x + width - 2, max(y, box[3])), ink)
        for y in range(box[1], box[3], 40):
            self._draw.line((box[0], y, box[2], y), self._near(128), 1)

    def _photograph(self, box: tuple[int, int, int, int]) -> None:
        if not self._photographs:
            return
        picture = Image.fromarray(self._random.choice(self._photographs))
        size = (max(16, box[2] - box[0]), max(16, box[3] - box[1]))
        self._image.paste(picture.resize(size, Image.Resampling.LANCZOS), (box[0], box[1]))

    def _icons(self, box: tuple[int, int, int, int]) -> None:
        rng = self._random
        size = rng.choice((16, 24, 32, 48))
        for y in range(box[1], box[3] - size, size + 12):
            for x in range(box[0], box[2] - size, size + 12):
                corners = (x, y, x + size, y + size)
                shape = rng.choice((self._draw.ellipse, self._draw.rectangle))
                shape(corners, fill=self._ink(), outline=self._ink(), width=rng.randint(0, 3))
