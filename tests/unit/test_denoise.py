"""Noise taken out of pictures: C against numpy, how noise is measured, and what a denoiser does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks._noise import sensor
from rtcodec.codec.denoiser import (
    AUTO,
    DENOISE_MODES,
    LOOK_AHEAD,
    OFF,
    STRONG,
    Denoiser,
    looked_ahead,
)
from rtcodec.codec.noise_meter import NoiseMeter
from rtcodec.motion import cleaning, denoise
from rtcodec.motion.denoise import GAINS, WHOLE_GAIN, Windows
from rtcodec.motion.native import BLOCK_SAMPLES, FINE, INTRA, QUARTERS, Reference
from rtcodec.motion.noise import changing_level, noise_level
from rtcodec.motion.refine import blocks_of_planes
from rtcodec.motion.still_noise import still_noise
from rtcodec.quality import picture_psnr, psnr
from rtcodec.types import Planes
from support.pictures import picture
from support.portable import portable_motion

ROWS, COLUMNS = 4, 4
NOISE = (9.0, 4.0, 0.5)
WINDOWS = [Windows(4, 8), Windows(2, 2), Windows(4, 4, threshold=2.0)]


def smooth_planes(seed: int, noise: float) -> list[NDArray[np.uint16]]:
    """Planes of waves under noise, in steps of `Fine`."""
    rng = np.random.default_rng(seed)
    planes = []
    for side in (16, 8, 8):
        y, x = np.mgrid[: ROWS * side, : COLUMNS * side]
        waves = 2000 + 1200 * np.sin(x / 7 + seed) * np.cos(y / 5) + 600 * (x > y)
        planes.append(np.clip(waves + FINE * rng.normal(0, noise, y.shape), 0, 4080))
    return [plane.astype(np.uint16) for plane in planes]


def reference_of(planes: list[NDArray[np.uint16]]) -> Reference:
    stored = Reference(ROWS, COLUMNS)
    stored.fill(np.ascontiguousarray(blocks_of_planes(planes)))
    return stored


def draw_gains(seed: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    return rng.integers(denoise.LEAST_GAIN, WHOLE_GAIN + 1, (ROWS, COLUMNS, GAINS)).astype(
        np.uint16
    )


def by_quarter(gains: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """[h16, w16, 4] as [2 h16, 2 w16]."""
    return gains.reshape(ROWS, COLUMNS, 2, 2).swapaxes(1, 2).reshape(2 * ROWS, 2 * COLUMNS)


@pytest.mark.parametrize("seed", range(3))
def test_averages_in_c_are_those_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = blocks_of_planes(smooth_planes(seed, 0))
    prediction = np.clip(clean + rng.normal(0, 60, clean.shape), 0, 4080).astype(np.uint16)
    prediction[1, 2] = rng.integers(0, 4081, BLOCK_SAMPLES)  # shows something else
    prediction[0, 0, :64] = 4080 * (prediction[0, 0, :64] < 2000)
    wanted = np.clip(clean / FINE + rng.normal(0, 9, clean.shape), 0, 255).astype(np.uint8)
    vectors = rng.integers(-300, 300, (ROWS, COLUMNS, QUARTERS, 2)).astype(np.int16)
    intra = rng.choice([0, 0, 0, INTRA, 2], (ROWS, COLUMNS)).astype(np.uint8)
    before = draw_gains(seed)
    expected, gains = denoise.average(wanted, prediction, vectors, intra, before, NOISE)

    found = prediction.copy()
    np.testing.assert_array_equal(
        cleaning.average(wanted, found, vectors, intra, before, NOISE), gains
    )
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(gains)) > 20  # not vacuous
    assert (gains[intra & INTRA > 0] == WHOLE_GAIN).all()


def drawn_noise() -> NDArray[np.float64]:
    """Standard deviations of coefficients, [3, 8, 8], weaker the finer they are."""
    v, h = np.indices((8, 8))
    return np.array(NOISE)[:, None, None] * 1.5 * 0.8 ** np.hypot(v, h)


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("has_pilot", [False, True])
@pytest.mark.parametrize("noise", [np.array(NOISE), drawn_noise()], ids=["white", "smooth"])
def test_pictures_are_shrunk_in_c_as_in_numpy(
    windows: Windows, has_pilot: bool, noise: NDArray[np.float64]
) -> None:
    noisy, pilot, gains = smooth_planes(1, 9), smooth_planes(1, 1), draw_gains(1)
    guide = reference_of(pilot) if has_pilot else None
    found = cleaning.shrink(reference_of(noisy), guide, gains, noise, windows)

    expected = [
        denoise.shrink(
            noisy[k].astype(np.float64),
            pilot[k].astype(np.float64) if has_pilot else None,
            by_quarter(gains[..., QUARTERS:] if k else gains[..., :QUARTERS]),
            FINE * noise[k],
            windows,
        )
        for k in range(3)
    ]
    # coefficients at the threshold may fall either way: a few samples of a few windows
    rounded = [np.clip(np.round(plane), 0, 4080).astype(np.uint16) for plane in expected]
    off = np.abs(found.astype(int) - blocks_of_planes(rounded))
    assert np.mean(off > 1) < 0.01


def test_other_builds_clean_the_same(tmp_path: Path) -> None:
    def cleaned() -> list[NDArray[np.uint8]]:
        frames = noisy_clip(3, sigma=10)
        denoiser = Denoiser(AUTO, thorough=False)
        return [denoiser.clean(planes).y for planes in frames]

    here = cleaned()
    with portable_motion(tmp_path):
        for one, other in zip(here, cleaned(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_cleaned_is_checked_before_it_goes_to_c() -> None:
    planes, gains = smooth_planes(0, 1), draw_gains(0)
    stored = reference_of(planes)
    blocks = np.zeros((ROWS, COLUMNS, BLOCK_SAMPLES), np.uint16)
    wanted, intra = blocks.astype(np.uint8), np.zeros((ROWS, COLUMNS), np.uint8)
    vectors = np.zeros((ROWS, COLUMNS, QUARTERS, 2), np.int16)
    with pytest.raises(ValueError, match="in order"):
        cleaning.average(wanted, blocks, vectors[:2], intra, gains, NOISE)
    with pytest.raises(ValueError, match="not gains"):
        cleaning.shrink(stored, None, gains[:2], NOISE, WINDOWS[0])
    with pytest.raises(ValueError, match="pilot"):
        cleaning.shrink(stored, Reference(8, 8), gains, NOISE, WINDOWS[0])
    with pytest.raises(ValueError, match="every 8 rows"):
        Windows(8, 8)
    with pytest.raises(ValueError, match="none of off"):
        Denoiser("weak", thorough=True)


@pytest.mark.parametrize("sigma", [3, 5, 10, 25])
def test_noise_is_measured_within_a_tenth(sigma: int) -> None:
    clean = still(192, 160)
    assert noise_level(clean.y) < 1
    assert noise_level(noisy(clean, sigma, seed=4).y) == pytest.approx(sigma, rel=0.1)


def smoothed(planes: Planes, sigma: float, seed: int) -> Planes:
    """A picture under noise that interpolation has smoothed, as that of most sensors."""
    rng = np.random.default_rng(seed)
    out = []
    for plane in astuple(planes):
        noise = rng.normal(0, 1, plane.shape)
        for axis in (0, 1):
            noise = noise + (np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / 2
        noise *= sigma / noise.std()
        out.append(np.clip(np.round(plane + noise), 0, 255).astype(np.uint8))
    return Planes(*out)


def texture(count: int) -> list[Planes]:
    """A picture of texture all over that moves by a sample and a half a picture."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:192, :224]
    waves = sum(30 * np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.9, 0.9, (6, 3)))
    out = []
    for t in range(count):
        whole = np.clip(128 + (waves + np.roll(waves, 1, 1) * (t % 2)) / (1 + t % 2), 0, 255)
        luma = whole[:, 3 * t // 2 : 160 + 3 * t // 2].astype(np.uint8)
        out.append(Planes(luma, *np.full((2, 96, 80), 128, np.uint8)))
    return out


def test_smooth_noise_is_told_by_what_changes() -> None:
    meter = NoiseMeter()
    clip = [smoothed(still(160, 160), 6, seed=t) for t in range(8)]
    assert noise_level(clip[0].y) < 2  # white noise there is hardly any
    levels = [meter.measure(planes)[0] for planes in clip[:3]]
    assert meter.still is not None
    levels += [meter.measure(planes)[0] for planes in clip[3:]]
    assert meter.still is None
    assert min(levels) > 5
    assert levels[7] < 11


def cloth() -> Planes:
    """A picture of texture all over, coarser where it is darker, in colour."""
    y, x = np.mgrid[:384, :480]
    rng = np.random.default_rng(5)
    waves = sum(np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-1.1, 1.1, (8, 3)))
    woven = np.clip(120 + (2 + x / 60) * waves, 0, 255).astype(np.uint8)
    return Planes(woven, woven[::2, ::2].copy(), 255 - woven[::2, ::2])


def under_sensor_noise(clean: Planes) -> Planes:
    return sensor(clean, 2.0, np.random.default_rng(2))


def test_a_sensors_noise_is_told_in_one_picture() -> None:
    clean = still(480, 384)
    assert still_noise(clean) is None
    found = still_noise(under_sensor_noise(clean))
    assert found is not None
    dark, bright = found.shares(np.array([80.0, 180.0]))
    assert 1.3 < bright / dark < 4.0  # 2.2 as drawn
    fine, coarse = found.shapes[:, 7, 7], found.shapes[:, 1, 1]
    assert (fine < 0.8 * coarse).all()
    assert fine[0] < 0.3


@pytest.mark.parametrize("sigma", [5, 15])
def test_white_noise_over_texture_is_no_sensors(sigma: int) -> None:
    meter = NoiseMeter()
    meter.measure(noisy(cloth(), sigma, seed=1))
    assert meter.still is None


def test_one_picture_under_a_sensors_noise_is_cleaned() -> None:
    clean = still(480, 384)
    loud = under_sensor_noise(clean)
    before, after = (
        picture_psnr(clean, each).yuv for each in (loud, Denoiser(AUTO, thorough=True).clean(loud))
    )
    assert after > before + 5


def test_texture_with_colour_is_no_noise() -> None:
    assert noise_level(cloth().y) < 2
    assert still_noise(cloth()) is None


def test_too_small_a_picture_tells_no_noise() -> None:
    assert still_noise(under_sensor_noise(still(64, 64))) is None


def test_texture_that_moves_is_no_noise() -> None:
    meter = NoiseMeter()
    clip = texture(12)
    levels = [meter.measure(planes)[0] for planes in clip]
    assert changing_level(clip[5].y, clip[4].y) > 3  # it takes a prediction to tell
    assert max(levels) < 2.5


def test_a_cut_to_another_size_forgets_smooth_noise() -> None:
    meter = NoiseMeter()
    for t in range(8):
        meter.measure(smoothed(still(160, 160), 6, seed=t))
    assert meter.measure(still(128, 128))[0] < 2


def test_noise_is_not_looked_for_where_there_is_too_little_to_see() -> None:
    assert noise_level(np.full((8, 8), 100, np.uint8)) == 0
    assert noise_level(np.zeros((0, 5), np.uint8)) == 0
    assert noise_level(np.full((256, 256), 255, np.uint8)) == 0  # noise would be cut off


def still(width: int, height: int, shift: int = 0) -> Planes:
    """A smooth picture with edges, of which another part is seen for another *shift*."""
    planes = []
    for scale in (1, 2, 2):
        y, x = np.mgrid[: height // scale, : width // scale] * scale
        x = x + shift
        waves = 120 + 50 * np.sin(x / 19) * np.cos(y / 13) + 40 * (np.sin(x / 30 + y / 40) > 0.3)
        planes.append(waves.astype(np.uint8))
    return Planes(*planes)


def noisy(planes: Planes, sigma: float, seed: int) -> Planes:
    rng = np.random.default_rng(seed)
    return Planes(
        *(
            np.clip(np.round(plane + rng.normal(0, sigma, plane.shape)), 0, 255).astype(np.uint8)
            for plane in (planes.y, planes.u, planes.v)
        )
    )


def noisy_clip(count: int, sigma: float, step: int = 0) -> list[Planes]:
    return [noisy(still(128, 128, step * t), sigma, seed=t) for t in range(count)]


@pytest.mark.parametrize("step", [0, 3])
def test_pictures_get_cleaner_from_one_to_the_next(step: int) -> None:
    denoiser = Denoiser(AUTO, thorough=True)
    gained = []
    for t, planes in enumerate(noisy_clip(6, 15, step)):
        clean = still(128, 128, step * t)
        before, after = (picture_psnr(clean, each).yuv for each in (planes, denoiser.clean(planes)))
        gained.append(after - before)
    assert gained[0] > 7
    assert gained[5] > gained[0] + 2
    assert denoiser.noise[0] == pytest.approx(15, rel=0.1)


def test_what_follows_makes_the_first_picture_cleaner() -> None:
    clip = noisy_clip(6, 15)
    alone = Denoiser(AUTO, thorough=True).clean(clip[0])
    denoiser = Denoiser(AUTO, thorough=True)
    cleaned = [
        (pts, denoiser.clean(planes))
        for pts, planes in looked_ahead(iter(enumerate(clip)), denoiser)
    ]
    assert [pts for pts, _ in cleaned] == list(range(6))
    clean = still(128, 128)
    assert picture_psnr(clean, cleaned[0][1]).yuv > picture_psnr(clean, alone).yuv + 2


@pytest.mark.parametrize(("mode", "held"), [(OFF, 1), (AUTO, 1 + LOOK_AHEAD)])
def test_no_more_than_is_looked_ahead_is_held(mode: str, held: int) -> None:
    taken = 0

    def source() -> Iterator[tuple[int, Planes]]:
        nonlocal taken
        for t, planes in enumerate(noisy_clip(LOOK_AHEAD + 4, 5)):
            taken += 1
            yield t, planes

    frames = looked_ahead(source(), Denoiser(mode, thorough=False))
    assert next(frames)[0] == 0
    assert taken == held
    assert [pts for pts, _ in frames] == list(range(1, LOOK_AHEAD + 4))


def test_what_appears_is_not_taken_for_noise() -> None:
    denoiser = Denoiser(AUTO, thorough=False)
    for planes in noisy_clip(5, 8):
        denoiser.clean(planes)
    other = Planes(*(np.ascontiguousarray(p[::-1, ::-1]) for p in astuple(still(128, 128, 77))))
    after = picture_psnr(other, denoiser.clean(noisy(other, 8, seed=9)))
    fresh = picture_psnr(other, Denoiser(AUTO, thorough=False).clean(noisy(other, 8, seed=9)))
    assert after.yuv > fresh.yuv - 0.5


def astuple(planes: Planes) -> tuple[NDArray[np.uint8], ...]:
    return planes.y, planes.u, planes.v


@pytest.mark.parametrize("mode", DENOISE_MODES)
def test_clean_pictures_stay_as_they_are(mode: str) -> None:
    denoiser = Denoiser(mode, thorough=True)
    planes = still(128, 128)
    assert denoiser.clean(planes) is planes
    assert not denoiser.is_active


def test_off_does_nothing_to_noise_and_measures_none() -> None:
    denoiser = Denoiser(OFF, thorough=True)
    planes = noisy(still(128, 128), 20, seed=0)
    assert denoiser.clean(planes) is planes
    assert denoiser.noise == (0, 0, 0)


def test_strong_takes_out_more_and_weaker_noise() -> None:
    weak = noisy(still(128, 128), 1.5, seed=0)
    assert Denoiser(AUTO, thorough=True).clean(weak) is weak
    assert Denoiser(STRONG, thorough=True).clean(weak) is not weak
    loud = noisy(picture(128, 128), 15, seed=0)
    changed = [psnr(loud.y, Denoiser(mode, thorough=True).clean(loud).y) for mode in (AUTO, STRONG)]
    assert changed[1] < changed[0]


def test_noise_that_is_known_is_not_measured() -> None:
    loud = noisy(still(128, 128), 15, seed=0)
    weaker = Denoiser(AUTO, thorough=True, noise=(5, 5, 5))
    assert psnr(loud.y, weaker.clean(loud).y) > psnr(
        loud.y, Denoiser(AUTO, thorough=True).clean(loud).y
    )
    assert weaker.noise == pytest.approx((5, 5, 5))


def test_it_ends_with_the_noise_and_begins_again() -> None:
    denoiser = Denoiser(AUTO, thorough=False)
    denoiser.clean(noisy(still(128, 128), 10, seed=0))
    assert denoiser.is_active
    clean = still(128, 128)
    shown = clean
    for _ in range(60):
        shown = denoiser.clean(Planes(*(plane.copy() for plane in astuple(clean))))
    assert not denoiser.is_active
    np.testing.assert_array_equal(shown.y, clean.y)
    for planes in noisy_clip(20, 10):
        denoiser.clean(planes)
    assert denoiser.is_active


def test_pictures_of_another_size_start_afresh() -> None:
    denoiser = Denoiser(AUTO, thorough=False)
    denoiser.clean(noisy(still(128, 128), 10, seed=0))
    small = denoiser.clean(noisy(still(70, 50), 10, seed=0))
    assert small.y.shape == (50, 70)


def test_one_picture_asked_for_twice_counts_once() -> None:
    denoiser = Denoiser(AUTO, thorough=False)
    planes = noisy(still(128, 128), 10, seed=0)
    assert denoiser.clean(planes) is denoiser.clean(planes)
