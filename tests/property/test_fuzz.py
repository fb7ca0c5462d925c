"""A few thousand of the cases of `python -m benchmarks.fuzz`, which runs millions."""

from collections.abc import Iterator
from random import Random

import pytest

from benchmarks import fuzz
from benchmarks._fuzz_targets import TARGETS, Target
from benchmarks._mutate import MAX_BYTES, mutate_bytes

CASES = 600
SEED = 99  # another one than the long run's


@pytest.fixture(autouse=True)
def alarms() -> Iterator[None]:
    before = fuzz.catch_hangs()
    yield
    fuzz.catch_hangs(before)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_comes_is_read_or_refused_in_the_way_that_callers_expect(target: Target) -> None:
    outcome = fuzz.fuzz(target, CASES, seed=SEED)
    assert outcome.findings == []
    assert outcome.accepted + sum(outcome.refused.values()) == CASES


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_is_broken_was_whole_before(target: Target) -> None:
    corpus = target.corpus()
    accepted = 0
    for sample in corpus:
        try:
            target.run(sample)
        except target.allowed:
            continue
        accepted += 1
    assert accepted >= len(corpus) / 2


def test_a_case_is_the_same_each_time() -> None:
    corpus = [bytes(range(64)), b"another"]
    target = Target("", "", lambda: corpus, len, ())
    cases = [fuzz.make_case(target, corpus, number, SEED) for number in range(200)]
    assert cases == [fuzz.make_case(target, corpus, number, SEED) for number in range(200)]
    assert cases[:2] == corpus
    assert len(set(cases)) > 150


def test_a_case_stays_within_bounds() -> None:
    data, rng = bytes(MAX_BYTES), Random(SEED)
    for _ in range(50):
        data = mutate_bytes(data, [data], rng)
        assert len(data) <= MAX_BYTES


def test_what_goes_wrong_is_found() -> None:
    def run(data: bytes) -> None:
        if data[0] == 255:
            raise KeyError("unexpected")
        if data[0] > 127:
            raise ValueError("expected")

    corpus = [bytes(4), b"\xff" * 4]
    outcome = fuzz.fuzz(Target("", "", lambda: corpus, run, (ValueError,)), 2, seed=SEED)
    assert (outcome.accepted, outcome.n_findings) == (1, 1)
    assert [(f.case, f.kind, f.data) for f in outcome.findings] == [(1, "KeyError", "ffffffff")]


def test_what_takes_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CASE_MAX_S", 0.05)

    def run(data: bytes) -> None:
        while data != b"fine":
            pass

    target = Target("", "", lambda: [b"fine"], run, (), lambda *_: b"stuck")
    outcome = fuzz.fuzz(target, 2, seed=SEED)
    assert [(finding.case, finding.kind) for finding in outcome.findings] == [(1, "hang")]
