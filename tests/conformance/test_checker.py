"""The checker itself: whatever is changed in a vector must not pass."""

import copy
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bitstream import AccessUnit, RtcReader, RtcWriter
from rtcodec.conformance.model import vector_model
from rtcodec.conformance.neural import NEURAL_RECIPES
from rtcodec.conformance.observe import FAST, REFERENCE, Coder, Observation, observe
from rtcodec.conformance.recipes import picture
from rtcodec.conformance.store import ALL_RECIPES, carry_out, describe, plan
from rtcodec.conformance.vector import (
    MODELS,
    Vector,
    check_vector,
    compare,
    find_vectors,
    read_pictures,
    write_pictures,
)
from rtcodec.errors import InputError
from rtcodec.types import Planes

ROOT = Path(__file__).parent
VECTORS = find_vectors(ROOT)
MUTATED = ("smallest", "described", "extensions", "random_escapes", "malformed/check_word")


def copied(name: str, folder: Path) -> Vector:
    """A vector that may be changed."""
    shutil.copytree(VECTORS[name].folder, folder / "vector")
    return Vector(folder / "vector")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in JSON that is not a container."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        if isinstance(child, dict | list) and child:
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


def other(value: Any) -> Any:
    """A different value of the same kind, where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return f"{value}0" if isinstance(value, str) else "something"


@pytest.mark.parametrize("name", MUTATED)
def test_every_changed_missing_or_added_field_is_a_difference(name: str) -> None:
    vector = VECTORS[name]
    expectation = vector.expectation
    model = vector_model(expectation["model"], ROOT / MODELS)
    seen = observe(vector.data, model)
    assert compare(expectation, seen, []) == []
    for path in leaves({key: value for key, value in expectation.items() if key != "model"}):
        for change in ("changed", "gone", "more"):
            mutated = copy.deepcopy(expectation)
            parent: Any = mutated
            for key in path[:-1]:
                parent = parent[key]
            if change == "changed":
                parent[path[-1]] = other(parent[path[-1]])
            elif change == "gone":
                del parent[path[-1]]
            elif isinstance(parent, dict):
                parent["more"] = 1
            else:
                parent.append(1)
            assert compare(mutated, seen, []), (change, path)


def test_numbers_and_truth_are_not_the_same() -> None:
    seen = Observation({"keyframe": True}, [])
    assert compare({"keyframe": 1}, seen, []) == ["keyframe: expected 1, is True"]


@pytest.mark.parametrize("name", MUTATED)
def test_every_flipped_bit_is_a_difference(name: str, tmp_path: Path) -> None:
    vector = copied(name, tmp_path)
    data = vector.data
    for position in range(0, len(data), max(1, len(data) // 150)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        (vector.folder / "input.rtc").write_bytes(changed)
        assert check_vector(vector, ROOT), position


@pytest.mark.parametrize("name", ["lanes_and_qp", "random_every_qp", "missing_slices"])
def test_a_dropped_doubled_or_moved_unit_is_a_difference(name: str, tmp_path: Path) -> None:
    vector = copied(name, tmp_path)
    reader = RtcReader(io.BytesIO(vector.data))
    units = list(reader)

    def rewritten(kept: list[AccessUnit]) -> bytes:
        out = io.BytesIO()
        with RtcWriter(out, reader.sequence) as writer:
            for unit in kept:
                writer.write(unit)
        return out.getvalue()

    assert rewritten(units) == vector.data
    for kept in (units[1:], units[:-1], [*units, units[-1]], units[::-1]):
        (vector.folder / "input.rtc").write_bytes(rewritten(kept))
        assert check_vector(vector, ROOT)


def test_a_decoder_that_is_wrong_about_the_integers_fails(tmp_path: Path) -> None:
    wrong = replace(FAST, indices=lambda net, z, qp: np.minimum(net.indices(z, qp) + 1, 63))
    assert check_vector(VECTORS["random_slices"], ROOT, coder=wrong)


def test_pictures_may_be_near_but_not_far_or_few_or_many(tmp_path: Path) -> None:
    wanted = [picture(40, 30, number) for number in range(2)]
    write_pictures(tmp_path / "pixels.npz", wanted)
    stored = read_pictures(tmp_path / "pixels.npz")
    report: dict[str, Any] = {"units": []}
    expectation = {"model": "x", **report, "pixels": {"rms_max": 0.5, "peak_max": 2}}

    def near(seen: list[Planes]) -> list[str]:
        return compare(expectation, Observation(report, seen), stored)

    def nudged(planes: Planes, by: int, every: int) -> Planes:
        v = planes.v.copy()
        v.reshape(-1)[::every] += np.uint8(by)
        return Planes(planes.y, planes.u, v)

    assert near(wanted) == []
    assert near([nudged(wanted[0], 2, 40), wanted[1]]) == []
    assert "peak_max" in near([nudged(wanted[0], 3, 300), wanted[1]])[0]
    assert "rms_max" in near([wanted[0], nudged(wanted[1], 1, 1)])[0]
    assert near(wanted[:1]) == ["pixels: expected 2 pictures, there are 1"]
    assert "is (31, 40)" in near([picture(40, 31), wanted[1]])[0]
    assert compare(report, Observation(report, wanted), stored)
    assert compare({**report, "pixels": {}}, Observation(report, wanted), stored)


@pytest.mark.parametrize("coder", [FAST, REFERENCE], ids=["fast", "reference"])
@pytest.mark.parametrize(("name", "stride"), [("smallest", 1), ("random_escapes", 99)])
def test_any_flipped_bit_or_cut_is_an_observation_never_a_crash(
    name: str, stride: int, coder: Coder
) -> None:
    vector = VECTORS[name]
    model = vector_model(vector.expectation["model"], ROOT / MODELS)
    data = vector.data
    for position in range(0, len(data), stride):
        assert observe(data[:position], model, coder=coder).report["error"]["offset"] == position
        for bit in range(8) if stride == 1 else (position % 8,):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            report = observe(bytes(changed), model, coder=coder).report
            assert report["error"] is not None  # the closing CRC at the latest


def test_a_promise_is_only_broken_with_a_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = "rtcodec.conformance.store"
    few = ALL_RECIPES[:3]
    monkeypatch.setattr(f"{store}.ALL_RECIPES", few)
    carry_out(plan(tmp_path), tmp_path)
    assert describe(plan(tmp_path), tmp_path) == []

    expect = tmp_path / "vectors" / few[0].name / "expect.json"
    changed = json.loads(expect.read_text())
    changed["size_bytes"] += 1
    expect.write_text(json.dumps(changed, indent=1) + "\n")
    planned = plan(tmp_path)
    assert planned.changed == [f"vectors/{few[0].name}/expect.json"]
    assert any("size_bytes" in line for line in describe(planned, tmp_path))
    with pytest.raises(InputError, match="raise VECTORS_VERSION"):
        carry_out(planned, tmp_path)
    assert json.loads(expect.read_text()) == changed

    monkeypatch.setattr(f"{store}.VECTORS_VERSION", 2)
    carry_out(plan(tmp_path), tmp_path)
    assert describe(plan(tmp_path), tmp_path) == []

    monkeypatch.setattr(f"{store}.ALL_RECIPES", few[:2])
    planned = plan(tmp_path)
    assert any(line.startswith("gone") for line in describe(planned, tmp_path))
    with pytest.raises(InputError, match="version 2 would change"):
        carry_out(planned, tmp_path)
    monkeypatch.setattr(f"{store}.ALL_RECIPES", ALL_RECIPES[:4])
    assert plan(tmp_path).refusal is None  # more is no broken promise


def test_a_neural_vector_goes_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcodec.conformance.store.ALL_RECIPES", NEURAL_RECIPES[:1])
    folder = tmp_path / "vectors" / NEURAL_RECIPES[0].name
    shutil.copytree(ROOT / "vectors" / NEURAL_RECIPES[0].name, folder)
    carry_out(plan(tmp_path), tmp_path)
    assert plan(tmp_path).changed == []

    expect = folder / "expect.json"
    kept = expect.read_text()
    expect.write_text(kept.replace('"pts": 1', '"pts": 2'))
    assert "to break the promise" in str(plan(tmp_path).refusal)

    model_id = json.loads(kept)["sequence"]["model_id"]
    expect.write_text(kept.replace(model_id, "00" * 8))
    planned = plan(tmp_path)
    assert f"vectors/{NEURAL_RECIPES[0].name}/expect.json" in planned.changed
    assert planned.refusal is None
