"""The decoder for browsers, in node, beside the Python one: the same pictures, whatever is lost."""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks._mutate import mutate_bytes
from benchmarks._web_decoder import MISSING, NODE, WebDecoder, build_wasm
from rtcodec.bitstream.packet import (
    Description,
    Geometry,
    Packet,
    read_packet,
    state_id,
    write_packet,
)
from rtcodec.bitstream.sequence import ColorRange, model_tag
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.encoder import FrameEncoder, FrameLabel, FramePacker
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeJob, EncodeOutput
from rtcodec.engine.loader import open_engine
from rtcodec.entropy import build
from rtcodec.entropy.native import context_indices
from rtcodec.entropy.native_tiles import gather_tiles, scale_indices, scatter_tiles
from rtcodec.errors import BitstreamError, Corrupt, Unsupported
from rtcodec.media.color import Color, planes_to_rgb
from rtcodec.models.web import web_model
from rtcodec.quality import picture_psnr
from rtcodec.types import COPY_CHANNELS, Planes, tile_grid
from rtcodec_engines.finish import Blocks, Finishing, Past, Slots
from rtcodec_engines.graph_engine import GraphEngine
from support.pictures import picture, same_picture
from support.spatial_model import with_shifted_spatial, without_spatial

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

WIDTH, HEIGHT = 264, 200  # neither of whole tiles
FRAMES, KEYS = 20, (0, 12)

Unit = list[bytes]


class Watching:
    """Finishes pictures as an engine does, and keeps what networks painted."""

    def __init__(self, finish: Finishing) -> None:
        self._finish = finish
        self.painted: NDArray[np.uint8] | None = None

    def __call__(
        self,
        slots: Slots,
        slot: int | None,
        blocks: Blocks,
        qp: int,
        past: Past | None,
        *,
        is_shown: bool = True,
        is_spatial: bool = False,
    ) -> Blocks:
        is_neural = past is None and not is_spatial
        self.painted = blocks.astype(np.uint8) if is_neural else None
        return self._finish(slots, slot, blocks, qp, past, is_shown=is_shown, is_spatial=is_spatial)


class Pair:
    """Both decoders of a stream. What networks paint, Python's paint for both, if wanted."""

    def __init__(self, bundle: Bundle, folder: Path, wasm: Path, *, same_networks: bool) -> None:
        engine = open_engine("onnxruntime", bundle)
        assert isinstance(engine, GraphEngine)
        self._engine, self._same = engine, same_networks
        self._watching = engine.finish = Watching(engine.finish)
        self._python = PictureDecoder(engine, bundle)
        self.web = WebDecoder(bundle, folder, wasm=wasm)

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()
        self._python.close()
        self._engine.close()

    def decode(self, packets: Unit) -> tuple[Planes, Planes, dict[str, Any]] | None:
        """Both pictures and what the web one says of its own; None if both refuse alike."""
        self._watching.painted = None
        ours = outcome(lambda: self._python.decode(packets))
        if isinstance(ours, BitstreamError):
            theirs_too = outcome(lambda: self.web.decode(packets))
            assert isinstance(theirs_too, type(ours))
            assert theirs_too.offset == ours.offset
            assert theirs_too.unheld_frame == ours.unheld_frame
            return None
        theirs = self.web.decode(packets, blocks=self._watching.painted if self._same else None)
        assert theirs.facts["isComplete"] == ours.is_complete
        assert theirs.facts["frameNumber"] == ours.frame_number
        assert theirs.facts["present"] == pytest.approx(1 - ours.concealed)
        return ours.planes, theirs.planes, theirs.facts


Result = TypeVar("Result")


def outcome(decode: Callable[[], Result]) -> Result | BitstreamError:
    try:
        return decode()
    except BitstreamError as error:
        return error


@pytest.fixture(scope="module")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wasm(tmp_path_factory.mktemp("wasm"))


@pytest.fixture(scope="module", params=["n64", "s128", "spatial"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """Models whose frames alone are those of networks, and one that predicts them."""
    if request.param == "spatial":
        return with_shifted_spatial(find_bundle("n64"))
    return without_spatial(find_bundle(str(request.param)))


@pytest.fixture(scope="module")
def units(bundle: Bundle) -> list[Unit]:
    """A picture in which some move, one fast, and the rest stands still."""
    return encoded(bundle, (WIDTH, HEIGHT), clip())


def encoded(bundle: Bundle, size: tuple[int, int], frames: Iterable[Planes]) -> list[Unit]:
    engine = open_engine("onnxruntime", bundle)
    packer = packer_of(bundle, Slicing(slices=5, dispersed=True))
    description = Description(model_tag(bundle.model_id), Geometry(*size))
    encoder = FrameEncoder(
        engine, packer, *size, references=NewestReference(), description=description
    )
    made = []
    for t, planes in enumerate(frames):
        coded = encoder.encode(planes, qp=20 + 2 * (t % 8), pts=t, keyframe=t in KEYS)
        made.append([write_packet(packet) for packet in coded.unit.packets])
    encoder.close()
    engine.close()
    return made


def packer_of(bundle: Bundle, slicing: Slicing) -> FramePacker:
    return FramePacker(
        bundle.entropy_tables,
        slicing,
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )


def clip() -> Iterator[Planes]:
    still, moving = picture(WIDTH, HEIGHT), picture(WIDTH, HEIGHT, 5)
    for t in range(FRAMES):
        planes = []
        for a, b, side in ((still.y, moving.y, 2), (still.u, moving.u, 1), (still.v, moving.v, 1)):
            plane = a.copy()
            plane[: 45 * side, : 60 * side] = np.roll(b, side * t, 1)[: 45 * side, : 60 * side]
            down = 50 * side + 2 * side * (t % 9)
            plane[down : down + 20 * side, 80 * side :] = b[: 20 * side, 80 * side :]
            planes.append(plane)
        yield Planes(*planes)


def test_delta_frames_are_the_same_to_the_last_bit(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path
) -> None:
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        for packets in units:
            seen = pair.decode(packets)
            assert seen is not None
            assert same_picture(*seen[:2])
            assert seen[2]["isComplete"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_and_so_they_are_where_packets_are_lost_or_damaged(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    outcomes = []
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        for t, packets in enumerate(units):
            left = [packet for packet in packets if rng.random() > 0.25 or t == 0]
            if rng.random() < 0.3 and left:
                left[0] = mutate_bytes(left[0], packets, rng)
            if rng.random() < 0.1:
                continue  # a frame of which nothing comes
            rng.shuffle(left)
            seen = pair.decode(left)
            outcomes.append(None if seen is None else seen[2])
            if seen is not None:
                assert same_picture(*seen[:2])
    shown = [facts for facts in outcomes if facts is not None]
    assert any(not facts["isTrusted"] for facts in shown)
    assert any(facts["present"] < 1 for facts in shown)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_any_symbols_make_the_same_picture(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        assert pair.decode(units[0]) is not None
        state = 0  # where the first frame is kept
        for number in range(1, 7):
            is_alone = bundle.spatial is not None and number % 2
            reference, state = None if is_alone else state, state_id(number % 2, number)
            ways = {"across_tiles": number == 5, "has_copies": seed % 2 == 0}
            packets = made_up(bundle, rng, number, reference=reference, store=state, **ways)
            seen = pair.decode(packets)
            assert seen is not None
            assert same_picture(*seen[:2])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged_copies_are_refused_or_painted_alike(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path, seed: int
) -> None:
    bundle, _ = every_kind
    ways = {"across_tiles": True, "has_copies": True}
    [packet] = made_up(
        bundle, np.random.default_rng(seed), 1, reference=None, store=state_id(0, 0), **ways
    )
    rng = Random(seed)
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        whole = pair.decode([packet])
        assert whole is not None
        assert same_picture(*whole[:2])
        start = len(packet) - len(read_payload_of(packet))
        for _ in range(40):
            broken = bytearray(packet)
            broken[start + rng.randrange(40)] ^= 1 << rng.randrange(8)
            end = len(broken) if rng.random() < 0.7 else rng.randrange(start, len(broken))
            seen = pair.decode([bytes(broken[:end])])
            assert seen is None or same_picture(*seen[:2])


def read_payload_of(data: bytes) -> bytes:
    packet = read_packet(data)
    assert isinstance(packet, Packet)
    return packet.payload


def made_up(
    bundle: Bundle,
    rng: np.random.Generator,
    number: int,
    *,
    reference: int | None,
    store: int,
    across_tiles: bool,
    has_copies: bool,
) -> Unit:
    """A delta frame, or a spatial one, that says anything, in whatever it may say."""
    part = bundle.spatial if reference is None else bundle.delta
    assert part is not None
    rows, columns = tile_grid(WIDTH, HEIGHT)
    qp = int(rng.integers(0, 64))
    z = rng.integers(-15, 16, (part.hyper_channels, rows, columns)).astype(np.int8)
    indices = scale_indices(part.scale_net, z, qp)
    shape = indices.shape
    anything = rng.integers(-3, 4, shape) * (rng.random(shape) < 0.1)
    anything += rng.integers(-32767, 32768, shape) * (rng.random(shape) < 0.001)
    symbols: NDArray[np.int16] = anything.clip(-32767, 32767).astype(np.int16)
    tiles = np.arange(rows * columns, dtype=np.uint32)
    by_tile, of_tiles = gather_tiles(symbols, tiles), gather_tiles(indices, tiles)
    while True:  # which are coded depends on those before
        skipped = (context_indices(part.entropy_tables, of_tiles, by_tile) == 0) & (by_tile != 0)
        if not skipped.any():
            break
        by_tile[skipped] = 0
    scatter_tiles(by_tile, tiles, symbols)
    label = FrameLabel(
        frame_number=number,
        qp=qp,
        keyframe=False,
        reference=reference,
        store=store,
        description=Description(model_tag(bundle.model_id), Geometry(WIDTH, HEIGHT)),
    )
    is_delta = reference is not None
    is_whole = across_tiles and not is_delta
    packer = packer_of(bundle, Slicing(slices=1 if is_whole else 3))
    has_copies &= is_whole
    if has_copies:
        copies = rng.integers(0, 90, (COPY_CHANNELS, *shape[1:])).astype(np.int16)
        copies[1::2] -= 45  # columns may be on either side
        copies *= rng.random(copies.shape) < 0.7
        symbols = np.concatenate((symbols, copies))
        indices = np.concatenate((indices, np.zeros(copies.shape, np.uint8)))
    output = EncodeOutput(
        z, symbols, indices, is_delta=is_delta, is_spatial=not is_delta, across_tiles=is_whole,
        has_copies=has_copies,
    )  # fmt: skip
    return [write_packet(packet) for packet in packer.pack(output, label, WIDTH, HEIGHT)]


def test_intra_frames_are_the_same_within_a_few_levels(
    bundle: Bundle, units: list[Unit], wasm: Path, tmp_path: Path
) -> None:
    frames = list(clip())
    with Pair(bundle, tmp_path, wasm, same_networks=False) as pair:
        for t, packets in enumerate(units):
            seen = pair.decode(packets)
            assert seen is not None
            ours, theirs, _ = seen
            difference = ours.y.astype(int) - theirs.y
            assert np.abs(difference).max() <= 12
            assert (difference**2).mean() < 0.15
            ours_db, theirs_db = (picture_psnr(frames[t], seen).yuv for seen in (ours, theirs))
            assert abs(ours_db - theirs_db) < 0.2


@pytest.fixture(scope="module")
def every_kind() -> tuple[Bundle, list[Unit]]:
    """Frames of each kind after each other one, those alone no key frames but for the first."""
    bundle = with_shifted_spatial(find_bundle("n64"))
    engine = open_engine("onnxruntime", bundle)
    packer = packer_of(bundle, Slicing(slices=3, dispersed=True))
    one_packet = packer_of(bundle, Slicing())
    description = Description(model_tag(bundle.model_id), Geometry(WIDTH, HEIGHT))
    state = engine.open_state(WIDTH, HEIGHT)
    units = []
    kinds = (
        *("spatial", "delta", "neural", "delta", "spatial", "neural", "spatial", "spatial"),
        *("whole", "delta", "whole", "neural", "whole", "spatial"),
    )
    for number, (kind, planes) in enumerate(zip(kinds, clip(), strict=False)):
        old, new = (number - 1) % 3, number % 3
        is_delta, is_neural, is_whole = kind == "delta", kind == "neural", kind == "whole"
        job = EncodeJob(
            state,
            planes,
            24,
            reference=old if is_delta else None,
            store=new,
            neural=is_neural,
            across_tiles=is_whole,
        )
        output = engine.encode([job])[0]
        is_spatial = is_whole or kind == "spatial"
        assert (output.is_delta, output.is_spatial) == (is_delta, is_spatial)
        assert output.across_tiles == is_whole
        label = FrameLabel(
            frame_number=number,
            qp=24,
            keyframe=number == 0,
            reference=state_id(old, number - 1) if is_delta else None,
            store=state_id(new, number),
            description=description,
        )
        packets = (one_packet if is_whole else packer).pack(output, label, WIDTH, HEIGHT)
        units.append([write_packet(packet) for packet in packets])
    engine.close()
    return bundle, units


def test_a_stream_may_have_frames_of_every_kind(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path
) -> None:
    bundle, units = every_kind
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        for packets in units:
            seen = pair.decode(packets)
            assert seen is not None
            assert same_picture(*seen[:2])
            assert seen[2]["isComplete"]


def test_slices_of_two_kinds_are_no_frame(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path
) -> None:
    bundle, units = every_kind
    for first, other in ((4, 5), (5, 4)):
        packets = units[first][:1] + [as_number(packet, first) for packet in units[other][1:]]
        with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
            seen = pair.decode(packets)
            assert seen is not None
            assert same_picture(*seen[:2])
            assert 0.2 < seen[2]["present"] < 0.5


def as_number(packet: bytes, number: int) -> bytes:
    """A slice as if of another frame of that clip."""
    read = read_packet(packet)
    assert isinstance(read, Packet)
    header = replace(read.header, frame_number=number, store=state_id(number % 3, number))
    return write_packet(Packet(header, read.payload))


def test_a_spatial_frame_with_a_reference_is_refused(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path
) -> None:
    bundle, units = every_kind
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        for packet in units[0] + units[4] + units[8]:
            flags = 1 + next(i for i, byte in enumerate(packet) if i and byte < 0x80)
            wrong = packet[:flags] + bytes([packet[flags] | 0x04]) + packet[flags + 1 :]
            with pytest.raises(Corrupt, match="alone"):
                read_packet(wrong)
            assert pair.decode([wrong]) is None


def test_a_model_without_a_part_for_them_refuses_spatial_frames(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path
) -> None:
    bundle, units = every_kind
    with Pair(without_spatial(bundle), tmp_path, wasm, same_networks=True) as pair:
        assert pair.decode(units[0]) is None
        assert pair.decode(units[2]) is not None
        with pytest.raises(Unsupported):
            pair.web.decode(units[4])
        with pytest.raises(Unsupported):
            pair.web.decode(units[8])
        assert pair.decode(units[3]) is not None


def test_a_model_for_stills_decodes_them_to_the_last_bit_and_refuses_other_frames(
    every_kind: tuple[Bundle, list[Unit]], wasm: Path, tmp_path: Path
) -> None:
    bundle, units = every_kind
    for name in ("whole", "stills"):
        (tmp_path / name).mkdir()
    with (
        WebDecoder(bundle, tmp_path / "whole", wasm=wasm) as whole,
        WebDecoder(bundle, tmp_path / "stills", wasm=wasm, stills=True) as stills,
    ):
        for number in (0, 4, 8):
            wanted = whole.decode(units[number])
            assert same_picture(stills.decode(units[number]).planes, wanted.planes)
            for other in (1, 2):  # from another frame, by networks
                with pytest.raises(Unsupported):
                    stills.decode(units[other])


def test_a_late_decoder_asks_for_a_key_frame_and_goes_on(
    units: list[Unit], bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    with WebDecoder(bundle, tmp_path, wasm=wasm) as web:
        with pytest.raises(Unsupported) as raised:
            web.decode(units[3])
        assert web.needs == "keyframe"
        assert raised.value.unheld_frame == 3
        assert web.decode(units[KEYS[1]]).facts["isComplete"]
        assert web.decode(units[KEYS[1] + 1]).facts["isComplete"]


def test_memory_grows_for_the_first_frames_only(
    units: list[Unit], bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    with WebDecoder(bundle, tmp_path, wasm=wasm) as web:
        for packets in units[:4]:
            web.decode(packets, color={})
        before = web.memory_bytes
        for packets in units[4:] + units:
            web.decode(packets, color={})
        assert web.memory_bytes == before < 16 << 20


def test_a_frame_larger_than_wanted_is_refused(
    units: list[Unit], bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    pixels_max = WIDTH * HEIGHT - 1
    with (
        WebDecoder(bundle, tmp_path, wasm=wasm, pixels_max=pixels_max) as web,
        pytest.raises(Corrupt),
    ):
        web.decode(units[0])


def test_another_size_begins_anew(
    units: list[Unit], bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    small = encoded(bundle, (100, 70), [cropped(planes, 100, 70) for planes in clip()][:3])
    order = [units[0], units[1], small[0], small[1], units[2], units[KEYS[1]], units[KEYS[1] + 1]]
    with Pair(bundle, tmp_path, wasm, same_networks=True) as pair:
        seen = [pair.decode(packets) for packets in order]
    assert [pair is None for pair in seen] == [False] * 4 + [True] + [False] * 2
    for both in seen:
        assert both is None or same_picture(*both[:2])


def cropped(planes: Planes, width: int, height: int) -> Planes:
    half = np.s_[: (height + 1) // 2, : (width + 1) // 2]
    u, v = (np.ascontiguousarray(plane[half]) for plane in (planes.u, planes.v))
    return Planes(np.ascontiguousarray(planes.y[:height, :width]), u, v)


@pytest.mark.parametrize("color", [{}, {"isFullRange": True}, {"matrix": 1}])
def test_colours_are_those_of_the_file_commands(
    color: dict[str, Any], units: list[Unit], bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    with WebDecoder(bundle, tmp_path, wasm=wasm) as web:
        seen = web.decode(units[0], color=color)
    wide = ColorRange.FULL if color.get("isFullRange") else ColorRange.LIMITED
    expected = planes_to_rgb(seen.planes, Color(wide, color.get("matrix", 2)))
    assert seen.rgba is not None
    assert np.abs(seen.rgba[..., :3].astype(int) - expected).max() <= 1
    assert (seen.rgba[..., 3] == 255).all()


def test_the_model_that_a_page_loads_is_small() -> None:
    assert len(web_model(find_bundle("n64"))) < 1_500_000


_TRY = """
import { readFile } from "node:fs/promises";
import { createDecoder } from %s;
const read = async (path) => new Uint8Array(await readFile(path)).buffer;
const [wasm, model] = [await read(process.argv[1]), await read(process.argv[2])];
for (const given of [wasm, new WebAssembly.Module(wasm)]) {
  const decoder = await createDecoder({ wasm: given, model });
  console.log(decoder.modelId, decoder.memoryBytes > 0);
}
new Uint8Array(model)[model.byteLength >> 1] ^= 1;
await createDecoder({ wasm, model }).catch((error) => console.log(error.message));
"""


def test_a_decoder_is_made_of_bytes_or_a_module_and_of_a_sound_model_only(
    bundle: Bundle, wasm: Path, tmp_path: Path
) -> None:
    assert NODE is not None
    model = tmp_path / "model.rtcw"
    model.write_bytes(web_model(bundle))
    script = _TRY % json.dumps((build.WEB / "src" / "decoder.js").as_uri())
    words = [NODE, "--no-warnings", "--input-type=module", "-e", script, str(wasm), str(model)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = f"{bundle.model_id.hex()} true"
    assert done.stdout.splitlines() == [made, made, "the model is damaged"]
