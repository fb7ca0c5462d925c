"""A model for browsers: what is in the file, that it is the same each time, and who is refused."""

import hashlib
import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec import cli, web_decoder
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.engine.null import null_bundle
from rtcodec.errors import ConfigError
from rtcodec.models.web import MAGIC, VERSION, web_model, web_model_name
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from support.spatial_model import with_shifted_spatial, without_spatial

_START = 44


def read(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header, and what follows it."""
    (size,) = struct.unpack_from("<I", content, _START - 4)
    return json.loads(content[_START : _START + size]), content[_START + size :]


def tensor(content: bytes, name: str) -> NDArray[Any]:
    header, body = read(content)
    entry = header["tensors"][name]
    data = body[entry["at"] : entry["at"] + entry["size"]]
    if entry["form"] == "deltas":
        return deltas(data, entry["shape"])
    return np.frombuffer(data, np.dtype(entry["form"]).newbyteorder("<")).reshape(entry["shape"])


def deltas(data: bytes, shape: list[int]) -> NDArray[np.int64]:
    """Undo what is said of them in rtcodec/models/web.py."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    steps: list[int] = []
    rest = iter(numbers)
    for number in rest:
        if number == 0:
            steps += [0] * (1 + next(rest))
        else:
            steps.append(-(number + 1) // 2 if number & 1 else number // 2)
    return np.array(steps).reshape(shape[0], -1).cumsum(0).reshape(shape)


@pytest.fixture(scope="module", params=["n64", "s128"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return with_shifted_spatial(find_bundle(str(request.param)))


def test_a_file_says_what_it_is_and_is_the_same_each_time(bundle: Bundle) -> None:
    content = web_model(bundle)
    assert web_model(with_shifted_spatial(find_bundle(bundle.name))) == content
    assert content[:8] == MAGIC + struct.pack("<I", VERSION)
    assert content[8:40] == hashlib.sha256(content[40:]).digest()
    header, body = read(content)
    assert header["name"] == bundle.name
    assert header["model_id"] == bundle.model_id.hex()
    assert header["dims"] == dict(bundle.dims)
    assert all(entry["at"] % 16 == 0 for entry in header["tensors"].values())
    assert (len(content) - len(body)) % 16 == 0
    assert web_model_name(bundle, content).startswith(f"{bundle.name}.")


def test_what_decides_symbols_is_in_it_exactly(bundle: Bundle) -> None:
    content = web_model(bundle)
    parts = (("", bundle), ("delta.", bundle.delta), ("spatial.", bundle.spatial))
    for prefix, part in parts:
        assert part is not None
        tables = part.entropy_tables
        for name, cdf in (("y", tables.y_cdf), ("z", tables.z_cdf)):
            frequencies = tensor(content, f"{prefix}{name}_frequencies")
            assert np.array_equal(frequencies.cumsum(-1), cdf[..., 1:])
        for name in ("w1", "w2", "w3", "b1", "b2", "b3"):
            own = getattr(part.scale_net, name)
            assert np.array_equal(tensor(content, f"{prefix}scale_net.{name}"), own)
        for name in ("contexts", "steps") if prefix else ():
            assert np.array_equal(tensor(content, f"{prefix}{name}"), part.tensor(name))
    for name, values in bundle.group("refine").items():
        assert np.array_equal(tensor(content, f"refine.{name}"), values)


def test_what_stills_need_is_a_seventh_of_it_and_the_same(bundle: Bundle) -> None:
    whole, stills = web_model(bundle), web_model(bundle, stills=True)
    names = set(read(stills)[0]["tensors"])
    assert {"spatial.steps", "spatial.contexts", "refine.spatial.luma"} <= names
    for name in names:
        assert np.array_equal(tensor(stills, name), tensor(whole, name))
    assert len(stills) < len(whole) / 6
    assert read(stills)[0]["model_id"] == bundle.model_id.hex()
    bare = without_spatial(bundle)  # its stills are those of networks
    assert web_model(bare, stills=True) == web_model(bare)


def test_gains_are_those_of_every_ninth_qp_and_lines_between(bundle: Bundle) -> None:
    known = np.log(tensor(web_model(bundle), "gains").astype(np.float64))
    every = [np.interp(np.arange(64), np.arange(0, 64, 9), channel) for channel in known.T]
    whole = bundle.gains[:, -known.shape[1] :]
    assert np.allclose(np.exp(np.stack(every, 1)), whole, rtol=1e-6, atol=0)
    bent = bundle.gains.copy()
    bent[13, -1] *= np.float32(1.001)
    with pytest.raises(ConfigError, match="gains"):
        web_model(replace(bundle, tensors={**bundle.tensors, "gains": bent}))


def test_a_page_s_model_is_small() -> None:
    head = load_restorer_model(PERCEPTUAL).tensors
    assert len(web_model(with_shifted_spatial(find_bundle("n64")), head=head)) < 1_500_000


def test_a_perceptual_head_is_there_where_it_was_given(bundle: Bundle) -> None:
    head = load_restorer_model(PERCEPTUAL).tensors
    content = web_model(bundle, head=head)
    for name in ("luma", "chroma"):
        assert np.array_equal(tensor(content, f"refine.head.{name}"), head[name])
    assert len(content) < len(web_model(bundle)) + 36_000


def test_a_model_without_networks_is_its_tables() -> None:
    header, _ = read(web_model(null_bundle()))
    assert "gains" not in header["tensors"]
    assert "z_frequencies" in header["tensors"]


def test_a_model_that_was_not_trained_for_eight_bits_is_refused() -> None:
    whole = find_bundle("n64")
    floats = {k: v for k, v in whole.tensors.items() if not k.endswith(".log_range")}
    with pytest.raises(ConfigError, match="8 bits"):
        web_model(replace(whole, tensors=floats))
    some = {k: v for k, v in whole.tensors.items() if k != "synthesis.embed_input.log_range"}
    with pytest.raises(ConfigError, match=r"synthesis\.embed_input"):
        web_model(replace(whole, tensors=some))


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["webmodel", "n64", "--folder", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    content = Path(said["path"]).read_bytes()
    assert (said["model"], said["size_bytes"]) == ("n64", len(content))
    head = load_restorer_model(PERCEPTUAL).tensors
    assert content == web_model(find_bundle("n64"), head=head)
    assert cli.main(["webmodel", "n64", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{said['path']}\n"


def test_writing_one_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys; from rtcodec.bundle import find_bundle; from rtcodec.models.web import"
        " web_model; web_model(find_bundle('n64')); print({'torch', 'onnx'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_decoder_s_files_are_there_once_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_decoder, "WASM", tmp_path / "rtcodec.wasm")
    assert web_decoder.web_decoder_files() == {}
    (tmp_path / "rtcodec.wasm").write_bytes(b"\0asm")
    files = web_decoder.web_decoder_files()
    assert {"decoder.js", "packet.js", "rtcodec.wasm"} <= files.keys()
    assert all(path.is_file() for path in files.values())
