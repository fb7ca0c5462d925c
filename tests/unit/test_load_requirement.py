"""Requirements: strictly read, judged by what was measured, and the verdict that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import ConfigError
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.requirement import COMPARISONS, NAMES, Requirement, judge, read_requirement
from rtcodec_client.load.verdict import default_requirements, make_verdict, verdict_lines

FEED = FeedSettings(width=640, height=360, fps=30, codec="vp8", bitrate_bps=500_000)
REPORT = {
    "latency_ms": {"total": {"p95": 120.0}},
    "freezes": {"count": 2},
    "fps": None,
    "generator": {"limited": False, "reasons": []},
}


@given(
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(sorted(COMPARISONS)),
    st.floats(-1e6, 1e6).map(lambda x: float(f"{x:g}")),
)
def test_a_requirement_is_read_as_it_is_written(name: str, comparison: str, bound: float) -> None:
    requirement = Requirement(name, comparison, bound)
    assert read_requirement(str(requirement)) == requirement
    assert read_requirement(f" {name}  {comparison} {bound!r} ") == requirement


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency.total.p95", "is not a name"),
        ("latency.total.p95<=", "is not a name"),
        ("<=5", "is not a name"),
        ("freezes=0", "is not a name"),
        ("freezes==0==0", "is not a name"),
        ("freezes==0 and fps>20", "is not a name"),
        ("__import__('os')==0", "is not a name"),
        ("freezes==none", "is not a number"),
        ("freezes==nan", "bounds nothing"),
        ("freezes<=inf", "bounds nothing"),
        ("latency.totl.p95<=3", "did you mean latency.total.p95"),
        ("nonsense<=3", "There are: churn.cycles, fps, "),
    ],
)
def test_anything_else_is_a_usage_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_requirement(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "measured", "is_met"),
    [
        ("latency.total.p95<=120", 120.0, True),
        ("latency.total.p95<120", 120.0, False),
        ("freezes==0", 2.0, False),
        ("freezes!=0", 2.0, True),
        ("freezes>=3", 2.0, False),
        ("freezes>1.5", 2.0, True),
        ("fps>=0", None, False),
        ("psnr.yuv>=0", None, False),
    ],
)
def test_what_was_not_measured_meets_nothing(
    text: str, measured: float | None, is_met: bool
) -> None:
    (judgement,) = judge([read_requirement(text)], REPORT)
    assert (judgement.measured, judgement.is_met) == (measured, is_met)


@pytest.mark.parametrize(
    ("texts", "limited", "checks", "outcome"),
    [
        (["freezes<=2"], False, True, "passed"),
        (["freezes<=2", "freezes==0"], False, True, "failed"),
        (["freezes<=2"], True, True, "inconclusive"),
        (["freezes==0"], True, True, "inconclusive"),
        (["freezes<=2"], True, False, "passed"),
    ],
)
def test_a_run_that_the_generator_limited_neither_passes_nor_fails(
    texts: list[str], limited: bool, checks: bool, outcome: str
) -> None:
    settings = LoadSettings(feed=FEED, requirements=tuple(map(read_requirement, texts)))
    report = {**REPORT, "generator": {"limited": limited, "reasons": ["it was late"]}}
    verdict = make_verdict(settings, report, checks_generator=checks)
    assert verdict["outcome"] == outcome
    lines = verdict_lines(verdict, report)
    assert any("it was late" in line for line in lines) == limited
    assert any("freezes<=2" in line and line.endswith(" 2") for line in lines) == (
        "freezes<=2" in texts
    )


def test_what_is_asked_by_default_fits_what_is_measured() -> None:
    def names(**given: int) -> set[str]:
        return {r.name for r in default_requirements(LoadSettings(feed=FEED, **given))}  # type: ignore[arg-type]

    assert "latency.total.p95" in names(subscribers=3, decode=1)
    assert "latency.arrive.p95" in names(subscribers=3, decode=0)
    assert not {"fps.share", "latency.total.p95"} & names(subscribers=0)
