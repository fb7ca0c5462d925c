"""What `benchmarks.arch` says of networks and of results."""

from fractions import Fraction
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from benchmarks.arch import ENTRANTS, macs_per_pixel, markdown, rows  # noqa: E402
from rtcodec.evaluation import Clip, evaluate  # noqa: E402
from rtcodec.evaluation.still import Jpeg  # noqa: E402
from rtcodec.models.baselines import BASELINES  # noqa: E402
from rtcodec.models.data import rgb_to_planes  # noqa: E402
from rtcodec.types import Planes  # noqa: E402
from support.models import TINY, codec, picture  # noqa: E402


def test_products_are_counted_where_they_are_made() -> None:
    widths = (384, 48, 48, 24)  # of the tiny tier's perceptron, one place for 256 pixels
    layers = sum(a * b for a, b in pairwise(widths))
    assert macs_per_pixel(BASELINES["mlp"](TINY)) == 2 * layers / 256
    # 5x5 from 6 to 4 channels at 1/4, 4 to 4 at 1/8, 4 to 24 at 1/16; the same on the way back
    strided = 25 * (6 * 4 / 16 + 4 * 4 / 64 + 4 * 24 / 256)
    assert macs_per_pixel(BASELINES["cae"](TINY)) == 2 * strided
    assert macs_per_pixel(codec(int8=True)) == macs_per_pixel(codec())


class Twice(Jpeg):
    """JPEG in files of twice the size."""

    name = "mlp"

    def write(self, planes: Planes, setting: int) -> bytes:
        return 2 * super().write(planes, setting)  # what follows a picture's end is not read


class Alike(Jpeg):
    """JPEG under another name."""

    name = "cae"


def test_every_row_is_held_against_the_one_above_and_the_rival() -> None:
    clip = Clip("x", "image", (Planes(*rgb_to_planes(picture(96, 128, 1))),), Fraction(1))
    result = evaluate([clip], [Twice(), Alike(), "jpeg"])
    found = rows(result, ENTRANTS[:2])
    assert found["mlp"]["bd_rate_above_percent"] is None
    assert found["mlp"]["bd_rate_jpeg_percent"] == pytest.approx(100, abs=1)
    assert found["cae"]["bd_rate_above_percent"] == pytest.approx(-50, abs=1)
    assert found["cae"]["bd_rate_jpeg_percent"] == 0
    training = {"kmac_per_pixel": 1.0, "parameters": 2e6, "steps": 3, "megapixels": 4.0}
    text = markdown({"rows": found, "training": {"mlp": training, "cae": training}})
    assert "| -50 % | +0 % |" in text.splitlines()[-1]
