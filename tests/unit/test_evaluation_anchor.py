"""The table against one codec, from points that are made up."""

from dataclasses import replace
from fractions import Fraction

import pytest

from rtcodec.evaluation.anchor import anchor_json, find_anchor, markdown, standings
from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.report import table
from rtcodec.evaluation.result import Evaluation, Point
from rtcodec.quality import PlanePsnr

DB = (30.0, 34.0, 38.0, 42.0)


def points(codec: str, clip: str, factor: float, kind: Kind = "video") -> list[Point]:
    """A curve that takes *factor* times the bits of another at every PSNR."""
    return [
        Point(
            clip=clip,
            kind=kind,
            width=200,
            height=200,
            n_frames=10,
            frame_rate=Fraction(25),
            codec=codec,
            unit="q",
            setting=setting,
            size_bytes=round(factor * 1000 * 2**setting),
            psnr_db=PlanePsnr(level, level, level),
            ms_ssim=1 - 10 ** (-setting - 1),
            vmaf=None,
            encode_ms=2.0,
            decode_ms=1.0,
        )
        for setting, level in enumerate(DB)
    ]


@pytest.fixture
def result() -> Evaluation:
    found = Evaluation(descriptions=dict.fromkeys(("ours", "vp8", "x265"), "words"))
    for clip, factor in (("a", 0.5), ("b|c", 0.7)):
        found.points += points("ours", clip, factor)
        found.points += points("vp8", clip, 1)
    found.points += points("x265", "a", 0.8)
    return found


def test_codecs_stand_in_order_of_their_bits(result: Evaluation) -> None:
    rows = standings(result, "video", "vp8")
    assert [row.codec for row in rows] == ["ours", "x265", "vp8"]
    assert rows[0].psnr.percent == pytest.approx(-40, abs=0.1)
    assert rows[0].ms_ssim.percent == pytest.approx(-40, abs=0.1)
    assert rows[0].psnr.range_db == pytest.approx((30, 42))
    assert len(rows[1].psnr.valid) == 1


def test_the_table_is_markdown_that_lines_up(result: Evaluation) -> None:
    text = markdown(standings(result, "video", "vp8"), "video", "vp8")
    assert text == "\n".join(
        [
            "videos: BD-rate against vp8, mean over 2; times per frame",
            "",
            "| codec | PSNR 6:1:1 |      over dB | MS-SSIM | clips | encode | decode |",
            "| :---- | ---------: | -----------: | ------: | ----: | -----: | -----: |",
            "| ours  |    -40.0 % | 30.0 to 42.0 | -40.0 % |     2 | 2.0 ms | 1.0 ms |",
            "| x265  |    -20.0 % | 30.0 to 42.0 | -20.0 % |     1 | 2.0 ms | 1.0 ms |",
            "| vp8   |     anchor |            - |  anchor |     2 | 2.0 ms | 1.0 ms |",
            "",
            "| clip |    ours |    x265 |",
            "| :--- | ------: | ------: |",
            "| a    | -50.0 % | -20.0 % |",
            "| b\\|c | -30.0 % |       - |",
        ]
    )


def test_data_and_text_are_kept_together(result: Evaluation) -> None:
    kept = anchor_json(result, "video", "x265")
    assert kept["anchor"] == "x265"
    assert isinstance(kept["rows"], list)
    [ours, anchor, vp8] = kept["rows"]
    assert anchor["codec"] == "x265"
    assert ours["clips"] == {"a": pytest.approx(-37.5, abs=0.01), "b|c": None}
    assert vp8["psnr_yuv_percent"] == pytest.approx(25, abs=0.01)
    assert str(kept["markdown"]).startswith("videos: BD-rate against x265")


def test_the_anchor_is_the_one_wanted_or_the_usual_one_or_a_rival(result: Evaluation) -> None:
    assert find_anchor(result, "video", "ours") == "ours"
    assert find_anchor(result, "video", "jpeg") == "vp8"
    result.points = [point for point in result.points if point.codec != "vp8"]
    assert find_anchor(result, "video") == "x265"
    result.points = [point for point in result.points if point.codec != "x265"]
    assert find_anchor(result, "video") is None
    assert find_anchor(result, "image") is None


def test_images_are_compared_all_with_all_until_an_anchor_is_named(result: Evaluation) -> None:
    result.points += [*points("ours", "i", 0.9, "image"), *points("x265", "i", 1, "image")]
    images, videos = table(result).split("\n\n", 1)
    assert images.startswith("images: BD-rate in percent")
    assert videos.startswith("videos: BD-rate against vp8")
    assert table(result, anchor="x265").startswith("images: BD-rate against x265")


def test_figures_that_do_not_exist_are_dashes(result: Evaluation) -> None:
    result.points = [replace(point, ms_ssim=None, encode_ms=None) for point in result.points]
    [row, *_] = standings(result, "video", "vp8")
    assert row.as_json()["ms_ssim_percent"] is None
    line = markdown([row], "video", "vp8").splitlines()[4]
    assert line == "| ours  |    -40.0 % | 30.0 to 42.0 |       - |     2 |      - | 1.0 ms |"
