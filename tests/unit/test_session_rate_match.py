"""Video that is compared with latents: which rate it is to have, and that it then costs as much."""

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.rate_match import ByteRate, RateMatch, read_match_query

TENTH_US = 100_000


@pytest.mark.parametrize(
    ("query", "rung"),
    [
        ({}, None),
        ({"rung": "1"}, None),
        ({"rate": "match"}, 0),
        ({"rate": "match", "rung": "2"}, 2),
    ],
)
def test_a_viewer_asks_for_the_rate_of_a_rung(query: dict[str, str], rung: int | None) -> None:
    assert read_match_query(query) == rung


@pytest.mark.parametrize("query", [{"rate": "300"}, {"rate": ""}, {"rate": "match", "rung": "3"}])
def test_a_rate_that_is_none_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_match_query(query)


def test_the_rate_is_that_of_the_last_second() -> None:
    rate = ByteRate()
    assert rate.bps is None
    n_bytes = 0
    for tick in range(30):
        n_bytes += 1000 if tick < 15 else 3000
        rate.sample(n_bytes, now_us=tick * TENTH_US)
    assert rate.bps == 240_000
    for tick in range(30, 45):
        rate.sample(n_bytes, now_us=tick * TENTH_US)
    assert rate.bps is None


def spent_after(seconds: int, *, bias: float, start_bytes: int = 0) -> float:
    """Return the rate in the last half, 1 for that of the latents, of an encoder that errs."""
    match = RateMatch()
    latent_bytes, video_bytes, at_half = 0, start_bytes, 0
    n_ticks = 10 * seconds
    for tick in range(n_ticks):
        aimed_bps = match.aim(400_000, latent_bytes=latent_bytes, video_bytes=video_bytes)
        latent_bytes += 5000
        video_bytes += int(aimed_bps * bias / 80)
        if tick == n_ticks // 2:
            at_half = video_bytes
    return (video_bytes - at_half) / (5000 * (n_ticks - 1 - n_ticks // 2))


@pytest.mark.parametrize("bias", [0.7, 1.0, 1.3])
def test_an_encoder_that_spends_too_much_or_too_little_is_led_to_the_rate(bias: float) -> None:
    assert spent_after(20, bias=bias) == pytest.approx(1, abs=0.02)


def test_a_key_frame_is_made_up_for_and_every_picture_gets_something() -> None:
    match = RateMatch()
    match.aim(400_000, latent_bytes=0, video_bytes=0)
    after = match.aim(400_000, latent_bytes=5000, video_bytes=45_000)
    assert after == pytest.approx(400_000 - 320_000 / 2)
    assert match.aim(400_000, latent_bytes=5000, video_bytes=1_000_000) == 100_000


def test_what_an_encoder_cannot_spend_is_not_spent_later() -> None:
    match = RateMatch()
    for second in range(60):
        match.aim(400_000, latent_bytes=50_000 * second, video_bytes=0)
    video_bytes = 0
    for second in range(60, 64):  # now it could
        aimed_bps = match.aim(400_000, latent_bytes=50_000 * second, video_bytes=video_bytes)
        assert aimed_bps <= 800_000
        video_bytes += round(aimed_bps / 8)
    assert match.aim(400_000, latent_bytes=50_000 * 64, video_bytes=video_bytes) < 500_000
