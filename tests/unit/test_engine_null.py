"""The stand-in engine is deterministic and keeps the protocol."""

import numpy as np
import pytest

from rtcodec.engine.api import DecodeJob, EncodeJob, Engine
from rtcodec.engine.null import NullEngine, null_bundle, qp_to_step
from rtcodec.errors import LocalProtocolError
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from support.pictures import noise, picture, same_picture


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (64, 64), (131, 70)])
@pytest.mark.parametrize("qp", [0, 40, 63])
def test_what_is_encoded_decodes_to_its_reconstruction(size: tuple[int, int], qp: int) -> None:
    engine: Engine = NullEngine()
    width, height = size
    state = engine.open_state(width, height)
    output = engine.encode([EncodeJob(state, noise(width, height), qp, reconstruct=True)])[0]
    shown = engine.decode([DecodeJob(state, output.z, output.symbols, qp, width, height)])[0]

    assert output.reconstruction is not None
    assert same_picture(shown, output.reconstruction)
    assert (shown.width, shown.height) == size


def test_shapes_and_ranges_are_those_of_the_protocol() -> None:
    engine = NullEngine()
    state = engine.open_state(130, 70)
    output = engine.encode([EncodeJob(state, noise(130, 70), 0)])[0]

    assert (output.z.dtype.name, output.z.shape) == ("int8", (3, 2, 3))
    assert (output.symbols.dtype.name, output.symbols.shape) == ("int16", (24, 8, 12))
    assert (output.indices.dtype.name, output.indices.shape) == ("uint8", (24, 8, 12))
    assert not output.symbols[output.indices == 0].any()
    assert output.reconstruction is None
    assert np.array_equal(engine.scale_indices(output.z, 0), output.indices)


def test_a_finer_qp_shows_a_better_picture() -> None:
    engine = NullEngine()
    source = picture(128, 96)
    state = engine.open_state(128, 96)
    shown = [
        engine.encode([EncodeJob(state, source, qp, reconstruct=True)])[0].reconstruction
        for qp in (0, 30, 63)
    ]
    quality = [picture_psnr(source, planes).yuv for planes in shown if planes is not None]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > 30


def test_a_gray_picture_costs_no_symbols() -> None:
    engine = NullEngine()
    gray = Planes(*(np.full(size, 128, np.uint8) for size in ((64, 64), (32, 32), (32, 32))))
    output = engine.encode([EncodeJob(engine.open_state(64, 64), gray, 20)])[0]
    assert not output.z.any()
    assert not output.indices.any()


def test_steps_grow_with_qp() -> None:
    steps = [qp_to_step(qp) for qp in range(64)]
    assert steps == sorted(steps)
    assert (steps[0], steps[63]) == (1, 32)


def test_the_model_is_the_same_every_time() -> None:
    assert null_bundle().model_id == NullEngine().info.model_id


def test_a_state_is_for_one_size_until_it_is_closed() -> None:
    engine = NullEngine()
    state = engine.open_state(64, 64)
    with pytest.raises(LocalProtocolError, match="was not opened for 32x32"):
        engine.encode([EncodeJob(state, noise(32, 32), 0)])

    output = engine.encode([EncodeJob(state, noise(64, 64), 0)])[0]
    engine.close_state(state)
    engine.close_state(state)
    with pytest.raises(LocalProtocolError):
        engine.decode([DecodeJob(state, output.z, output.symbols, 0, 64, 64)])
    engine.close()


@pytest.mark.parametrize("qp", [-1, 64])
def test_jobs_refuse_a_qp_that_does_not_exist(qp: int) -> None:
    engine = NullEngine()
    state = engine.open_state(64, 64)
    output = engine.encode([EncodeJob(state, noise(64, 64), 0)])[0]
    with pytest.raises(ValueError, match="outside 0 to 63"):
        EncodeJob(state, noise(64, 64), qp)
    with pytest.raises(ValueError, match="outside 0 to 63"):
        DecodeJob(state, output.z, output.symbols, qp, 64, 64)
