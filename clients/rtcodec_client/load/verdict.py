"""
What a run is worth: each requirement beside what was measured, and whether the run says anything.

Three outcomes: passed, failed, and inconclusive, where the generator or its
machine and not the relay was the limit. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.requirement import Requirement, judge, read_requirement

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
EXIT_CODES: Final = {PASSED: 0, FAILED: 1, INCONCLUSIVE: 3}


def default_requirements(settings: LoadSettings) -> tuple[Requirement, ...]:
    """Return what is asked of a run where the user asks for nothing in particular."""
    texts = ["joins.failed==0", "peers.lost==0", "frames.dropped_share<=0.01"]
    if settings.n_subscribers:
        texts += ["fps.share>=0.97", "frames.lost_share<=0.005", "freezes==0"]
        texts.append("latency.total.p95<=200" if settings.n_decoding else "latency.arrive.p95<=150")
    texts.append("relay.sessions_left==0")
    return tuple(read_requirement(text) for text in texts)


def make_verdict(
    settings: LoadSettings, report: Mapping[str, Any], *, checks_generator: bool
) -> dict[str, Any]:
    """
    Judge a run.

    Args:
        settings: With its requirements, or none for the default ones.
        report: As `make_report` made it.
        checks_generator: Whether a run that the generator limited says nothing.
    """
    requirements = settings.requirements or default_requirements(settings)
    judgements = judge(requirements, report)
    outcome = PASSED if all(judgement.is_met for judgement in judgements) else FAILED
    if checks_generator and report["generator"]["limited"]:
        outcome = INCONCLUSIVE
    return {
        "outcome": outcome,
        "requirements": [judgement.report() for judgement in judgements],
        "default_requirements": not settings.requirements,
    }


def verdict_lines(verdict: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Say the verdict, for people."""
    lines = []
    for entry in verdict["requirements"]:
        measured = entry["measured"]
        value = "not measured" if measured is None else f"{measured:g}"
        lines.append(f"  {'ok ' if entry['met'] else 'NOT'}  {entry['require']:<34} {value}")
    lines.append(f"verdict: {verdict['outcome']}")
    if report["generator"]["limited"]:
        lines.append(
            "the generator or its machine was the limit, so this says little of the relay:"
        )
        lines += [f"  {reason}" for reason in report["generator"]["reasons"]]
    return lines
