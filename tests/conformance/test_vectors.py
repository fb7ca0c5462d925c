"""Every vector, by both implementations of what must be exact; and that none is missing."""

import re
from pathlib import Path

import pytest

from rtcodec.bundle import Bundle
from rtcodec.conformance.exact import LINEAR, exact_bundle
from rtcodec.conformance.model import CARRIED, random_bundle
from rtcodec.conformance.observe import FAST, REFERENCE
from rtcodec.conformance.store import (
    ALL_RECIPES,
    VECTORS_VERSION,
    annotated_spec,
    plan,
    recorded,
)
from rtcodec.conformance.vector import MALFORMED, MODELS, Vector, check_vector, find_vectors
from rtcodec.conformance.vectors_command import SPEC
from rtcodec.engine.null import null_bundle

ROOT = Path(__file__).parent
VECTORS = find_vectors(ROOT)
LEAST = 82
"Vectors there have been; a number that only grows."


@pytest.mark.parametrize("name", VECTORS)
def test_the_fast_decoder_conforms(name: str) -> None:
    assert check_vector(VECTORS[name], ROOT, coder=FAST) == []


@pytest.mark.parametrize(
    "name", [name for name in VECTORS if not name.startswith(("neural", "widest", "tallest"))]
)
def test_the_reference_decoder_conforms(name: str) -> None:
    assert check_vector(VECTORS[name], ROOT, coder=REFERENCE) == []


def test_no_vector_is_missing_from_the_table_or_the_recipes() -> None:
    table = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(VECTORS)
    assert sorted(recipe.name for recipe in ALL_RECIPES) == sorted(VECTORS)
    assert len(VECTORS) >= LEAST
    assert recorded(ROOT) == {"version": VECTORS_VERSION, "vectors": len(VECTORS)}


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_says_what_it_is_for(name: str) -> None:
    vector: Vector = VECTORS[name]
    assert re.fullmatch(r"[^\n]+ \(spec [0-9., ]+\)", vector.readme)
    faults = [vector.expectation["error"]] + [
        packet.get("error") for unit in vector.expectation["units"] for packet in unit["packets"]
    ]
    assert any(faults) == name.startswith(MALFORMED)


def test_making_the_vectors_again_changes_nothing() -> None:
    planned = plan(ROOT)
    assert (planned.added, planned.changed, planned.gone) == ([], [], [])


def test_the_models_beside_the_vectors_are_the_ones_in_the_code() -> None:
    for bundle in (null_bundle(), random_bundle(), exact_bundle(), exact_bundle(LINEAR)):
        assert Bundle.load(ROOT / MODELS / f"{bundle.name}.rtcm").model_id == bundle.model_id
    assert {path.stem for path in (ROOT / MODELS).iterdir()} == {*CARRIED}


def test_the_smallest_vector_is_in_the_specification() -> None:
    spec = SPEC.read_text()
    assert annotated_spec(spec, VECTORS["smallest"].data) == spec
    assert VECTORS["smallest"].data.hex(" ") in spec
