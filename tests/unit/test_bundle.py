"""Bundles: what is saved comes back, and what is not one is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from rtcodec import bundle as bundle_module
from rtcodec.bundle import (
    DELTA_GRAPHS,
    GRAPHS,
    WEIGHTS_DIR,
    Bundle,
    find_bundle,
    find_bundle_by_id,
    installed_bundles,
)
from rtcodec.engine.null import null_bundle
from rtcodec.errors import ConfigError

GAINS = np.ones((64, 2), np.float32)


def small(name: str = "tiny", /, **tensors: np.ndarray[Any, Any]) -> Bundle:
    return Bundle(name=name, dims={"M": 4, "Cz": 2}, tensors={"gains": GAINS, **tensors})


def write(folder: Path, name: str = "tiny") -> Path:
    path = folder / f"{name}.rtcm"
    small(name, scalar=np.array(7, np.int32)).save(path)
    return path


def write_raw(path: Path, metadata: dict[str, Any]) -> None:
    path.write_bytes(save({"gains": GAINS}, metadata={"rtcodec": json.dumps(metadata)}))


def metadata(**changes: object) -> dict[str, Any]:
    base = {
        "format": 1,
        "name": "tiny",
        "model_id": small().model_id.hex(),
        "dims": {"M": 4, "Cz": 2},
        "graphs": {},
        "card": {},
        "versions": {},
    }
    return {**base, **changes}


def test_a_saved_bundle_loads_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "tiny.analysis.onnx").write_bytes(b"graph")
    before = Bundle(
        name="tiny",
        dims={"M": 4, "Cz": 2, "C": 8},
        tensors={"gains": GAINS, "half": np.ones(3, np.float16), "one": np.array(1, np.int64)},
        card={"steps": 10},
        versions={"torch": "2"},
    )
    saved = before.save(tmp_path / "tiny.rtcm")
    loaded = Bundle.load(tmp_path / "tiny.rtcm")

    assert saved.model_id == loaded.model_id == before.model_id
    assert (loaded.name, loaded.dims, loaded.card) == (before.name, before.dims, before.card)
    assert loaded.versions == before.versions
    assert loaded.tensor("one").shape == ()
    assert loaded.graph_sha256 == {"analysis": hashlib.sha256(b"graph").hexdigest()}
    assert loaded.read_graph("analysis") == b"graph"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.analysis.onnx", "tiny.rtcm"]


def test_the_model_id_follows_the_content_and_nothing_else() -> None:
    same = small("other")
    assert same.model_id == small().model_id
    assert small(extra=np.zeros(1, np.int8)).model_id != small().model_id
    assert small(a=np.zeros(2, np.int8)).model_id != small(a=np.zeros((1, 2), np.int8)).model_id
    assert small(a=np.zeros(2, np.int8)).model_id != small(a=np.zeros(2, np.uint8)).model_id


def test_arrays_of_a_bundle_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        small().gains[0, 0] = 2


def test_a_group_is_the_tensors_with_a_common_prefix() -> None:
    one = np.zeros(1, np.int8)
    tensors: dict[str, np.ndarray[Any, Any]] = {"gains": GAINS, "net.a": one}
    tensors |= {"net.b": one, "nets.c": one}
    bundle = Bundle(name="tiny", dims={"M": 4, "Cz": 2}, tensors=tensors)
    assert list(bundle.group("net")) == ["a", "b"]


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a b", "x" * 65])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a model name"):
        small(name)


@pytest.mark.parametrize("dims", [{"M": 4}, {"M": 0, "Cz": 2}, {"M": 4, "Cz": 5000}])
def test_missing_and_absurd_dimensions_are_refused(dims: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="missing or out of range"):
        Bundle(name="tiny", dims=dims, tensors={"gains": GAINS})


@pytest.mark.parametrize(
    "gains", [GAINS[:63], GAINS.astype(np.float16), GAINS[0], np.full((64, 1), np.nan, np.float32)]
)
def test_gains_are_finite_floats_for_every_qp(gains: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ConfigError, match="gains are not"):
        Bundle(name="tiny", dims={"M": 4, "Cz": 2}, tensors={"gains": gains})


def test_a_bundle_without_gains_is_refused() -> None:
    with pytest.raises(ConfigError, match="tensor gains is missing"):
        Bundle(name="tiny", dims={"M": 4, "Cz": 2}, tensors={})


def test_a_tensor_of_an_odd_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="has dtype complex64"):
        small(wave=np.zeros(1, np.complex64))


def test_a_bundle_is_saved_under_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"belongs in tiny\.rtcm"):
        small().save(tmp_path / "other.rtcm")


def test_a_graph_that_changed_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "tiny.analysis.onnx"
    graph.write_bytes(b"graph")
    bundle = small().save(tmp_path / "tiny.rtcm")
    graph.write_bytes(b"grapH")
    with pytest.raises(ConfigError, match="not the file that model tiny was exported with"):
        bundle.read_graph("analysis")

    graph.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        bundle.read_graph("analysis")


def test_a_graph_that_is_not_listed_or_has_no_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not listed"):
        small().read_graph("analysis")
    with pytest.raises(ConfigError, match="has no file"):
        small().graph_path("analysis")


def test_every_cut_and_every_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = write(tmp_path).read_bytes()
    good = Bundle.load(tmp_path / "tiny.rtcm")
    path = tmp_path / "bad.rtcm"
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at])
        with pytest.raises(ConfigError):
            Bundle.load(path)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            flipped = Bundle.load(path)
        except ConfigError:
            continue
        assert flipped.model_id == good.model_id  # only the card, a name or a graph's hash


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Bundle.load(tmp_path / "none.rtcm")
    with pytest.raises(ConfigError, match="not a file"):
        Bundle.load(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    monkeypatch.setattr(bundle_module, "_MAX_FILE_BYTES", 10)
    with pytest.raises(ConfigError, match="too large for a model bundle"):
        Bundle.load(path)


def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.analysis.onnx").write_bytes(b"graph")
    bundle = small().save(tmp_path / "tiny.rtcm")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="Permission denied"):
        bundle.read_graph("analysis")


def test_safetensors_that_are_no_bundle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.rtcm"
    path.write_bytes(save({"gains": GAINS}))
    with pytest.raises(ConfigError, match="not a model bundle"):
        Bundle.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "bundle format 2 is not known here"),
        ({"dims": []}, "field dims of the bundle is not a dict"),
        ({"dims": {"M": 4.5, "Cz": 2}}, "dimension M is not an integer"),
        ({"model_id": "00"}, "does not match its model id"),
    ],
)
def test_wrong_metadata_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "tiny.rtcm"
    write_raw(path, metadata(**changes))
    with pytest.raises(ConfigError, match=message):
        Bundle.load(path)


def test_integer_parts_come_back_validated() -> None:
    bundle = null_bundle()
    assert bundle.entropy_tables.hyper_channels == bundle.hyper_channels
    assert bundle.scale_net.latent_channels == bundle.latent_channels


def test_integer_parts_that_do_not_fit_the_dimensions_are_refused() -> None:
    bundle = null_bundle()
    wrong = Bundle(name="null", dims={"M": 24, "Cz": 5}, tensors=bundle.tensors)
    with pytest.raises(ConfigError, match="z_cdf does not fit"):
        _ = wrong.entropy_tables
    with pytest.raises(ConfigError, match="scale network does not fit"):
        _ = wrong.scale_net


def test_shifts_of_the_wrong_form_are_refused() -> None:
    tensors = {**null_bundle().tensors, "scale_net.shifts": np.zeros(2, np.int32)}
    with pytest.raises(ConfigError, match="shifts is not int32"):
        _ = Bundle(name="null", dims={"M": 24, "Cz": 3}, tensors=tensors).scale_net


def test_models_are_found_by_name_path_and_id(tmp_path: Path) -> None:
    path = write(tmp_path)
    write(tmp_path, "zwei")
    assert [p.stem for p in installed_bundles(tmp_path)] == ["tiny", "zwei"]
    found = find_bundle("tiny", tmp_path)
    assert found.name == find_bundle(str(path)).name == "tiny"
    assert find_bundle_by_id(found.model_id[:8], tmp_path).model_id == found.model_id
    assert find_bundle_by_id(found.model_id[:8], tmp_path / "none", [found]) is found


@pytest.mark.parametrize("name", ["nope", "../tiny"])
def test_an_unknown_model_is_answered_with_those_there_are(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match="installed: tiny"):
        find_bundle(name, tmp_path)


def test_an_unknown_id_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match="no installed model has the id 0102"):
        find_bundle_by_id(b"\x01\x02", tmp_path, [small()])


@pytest.mark.parametrize("path", installed_bundles(), ids=lambda path: str(path.stem))
def test_every_shipped_model_is_whole(path: Path) -> None:
    bundle = Bundle.load(path)
    assert bundle.name == path.stem
    assert bundle.scale_net.latent_channels == bundle.latent_channels
    assert bundle.entropy_tables.hyper_channels == bundle.hyper_channels
    assert bundle.delta is not None
    assert bundle.delta.scale_net.always_coded == bundle.dims["motion"]
    assert bundle.delta.entropy_tables.hyper_channels == bundle.hyper_channels
    assert sorted(bundle.graph_sha256) == sorted((*GRAPHS, *DELTA_GRAPHS))
    for graph in bundle.graph_sha256:
        assert bundle.read_graph(graph)


def test_both_tiers_are_shipped() -> None:
    assert {"n64", "s128"} <= {path.stem for path in installed_bundles(WEIGHTS_DIR)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": 3}, "dimension motion is 3"),
        ({}, "no delta.contexts: it is of an earlier draft"),
    ],
)
def test_delta_frames_of_an_earlier_draft_are_refused(change: dict[str, int], message: str) -> None:
    whole = find_bundle("n64")
    tensors = {k: v for k, v in whole.tensors.items() if k != "delta.contexts"}
    assert len(tensors) == len(whole.tensors) - 1
    draft = Bundle(whole.name, {**whole.dims, **change}, tensors)
    with pytest.raises(ConfigError, match=message):
        assert draft.delta
