"""How pictures are shown: what notes say, whatever they hold, and views in 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.dicom.display import Display, read_display, usual_window, view

PLAIN = Display("MONOCHROME2", 1.0, 0.0, None, None, None)


def tag(*values: object) -> dict[str, object]:
    return {"vr": "DS", "Value": list(values)}


def test_notes_say_how_a_picture_is_shown() -> None:
    tags = {
        "00281053": tag(2.0), "00281052": tag(-1000), "00281050": tag(40, 300),
        "00281051": tag(80, 2000), "00280030": tag(0.5, 0.25), "00181063": tag(40),
    }  # fmt: skip
    display = read_display({"photometric": "MONOCHROME1", "tags": tags})
    assert display == Display("MONOCHROME1", 2.0, -1000.0, (40.0, 80.0), 40.0, (0.5, 0.25))


@pytest.mark.parametrize("rate", ["00082144", "00180040"])
def test_frames_a_second_say_how_long_one_is(rate: str) -> None:
    assert read_display({"tags": {rate: tag(25)}}).frame_ms == 40


@pytest.mark.parametrize(
    "tags",
    [
        {"00281050": tag(40)},
        {"00281050": tag(40), "00281051": tag(0)},
        {"00281050": tag("40"), "00281051": tag(True)},
        {"00281050": tag(float("nan")), "00281051": tag(1e300)},
        {"00281050": "nothing", "00281051": {"Value": 5}},
        {"00280030": tag(0, 1), "00181063": tag(-4), "00281053": tag(0)},
    ],
)
def test_what_makes_no_sense_is_left_out(tags: dict[str, object]) -> None:
    assert read_display({"photometric": "MONOCHROME2", "tags": tags}) == PLAIN
    assert read_display({"tags": "nothing"}).photometric is None


def test_text_of_a_file_is_never_passed_on() -> None:
    assert read_display({"photometric": "DOE^JOHN"}).photometric is None


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
TAGS = ("00281050", "00281051", "00281052", "00281053", "00280030", "00181063", "00082144")


@given(json, st.dictionaries(st.sampled_from(TAGS), json))
def test_any_notes_are_taken(photometric: object, tags: dict[str, object]) -> None:
    display = read_display({"photometric": photometric, "tags": tags})
    frame = np.arange(16, dtype=np.int16).reshape(4, 4, 1)
    assert view(frame, display, usual_window(frame, display)).shape == (4, 4)


def test_a_window_is_linear_between_its_ends() -> None:
    frame = np.array([[-2000, 0, 20, 40, 60, 80, 2000]], np.int16)[..., None]
    shown = view(frame, PLAIN, (40.5, 81.0))
    assert shown.tolist() == [[0, 0, 64, 128, 191, 255, 255]]
    inverted = view(frame, Display("MONOCHROME1", 1.0, 0.0, None, None, None), (40.5, 81.0))
    assert np.array_equal(inverted, 255 - shown)


def test_a_rescale_comes_before_the_window() -> None:
    frame = np.array([[0, 100]], np.uint16)[..., None]
    display = Display("MONOCHROME2", 2.0, -100.0, (0.5, 201.0), None, None)
    assert usual_window(frame, display) == (0.5, 201.0)
    assert view(frame, display, (0.5, 201.0)).tolist() == [[0, 255]]


def test_without_a_window_nearly_all_samples_are_within() -> None:
    frame = np.arange(10000, dtype=np.uint16).reshape(100, 100, 1)
    shown = view(frame, PLAIN, usual_window(frame, PLAIN))
    assert 0.97 < np.mean((shown > 0) & (shown < 255)) < 1
    flat = np.full((5, 5, 1), 7, np.uint8)
    assert view(flat, PLAIN, usual_window(flat, PLAIN)).shape == (5, 5)
