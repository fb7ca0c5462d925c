"""Frames to packets and back over the stand-in engine, with loss and damage."""

from dataclasses import replace

import numpy as np
import pytest

from rtcodec.bitstream.check import seal_packet
from rtcodec.bitstream.packet import Description, Extension, Geometry, Packet, write_packet
from rtcodec.bitstream.still import write_still_map
from rtcodec.bitstream.tiles import TileRange, tile_indices
from rtcodec.codec.cost import TileCosts
from rtcodec.codec.decoder import FrameDecoder, unpack_frame
from rtcodec.codec.encoder import EncodedFrame, FrameEncoder, FrameLabel, FramePacker
from rtcodec.codec.slicing import Slicing, halves, lanes_for
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.entropy.cdf import EntropyTables, example_tables
from rtcodec.entropy.native import SliceDecoder, SliceEncoder, encode_slice, tile_costs
from rtcodec.entropy.native_tiles import gather_tiles
from rtcodec.entropy.tile import gather_hyper
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from support.pictures import noise, picture, same_picture

WIDTH, HEIGHT = 330, 200
MODEL = null_bundle()
TABLES, NET = MODEL.entropy_tables, MODEL.scale_net


def encoder(slicing: Slicing, width: int = WIDTH, height: int = HEIGHT) -> FrameEncoder:
    return FrameEncoder(NullEngine(), FramePacker(TABLES, slicing), width, height)


def decoder(width: int = WIDTH, height: int = HEIGHT, references: int = 0) -> FrameDecoder:
    return FrameDecoder(NullEngine(), MODEL, width, height, references=references)


def encoded(slicing: Slicing, *, qp: int = 20) -> EncodedFrame:
    return encoder(slicing).encode(
        picture(WIDTH, HEIGHT), qp=qp, pts=0, keyframe=True, reconstruct=True
    )


def resealed(packet: Packet, **changes: object) -> Packet:
    """Return the packet with another header and a check word that is right for it."""
    from rtcodec.entropy.native_tiles import tile_indices as scale_indices

    header = packet.header
    n_tiles = tile_indices(header.tiles, WIDTH, HEIGHT).size
    reader = SliceDecoder(TABLES, packet.payload, n_tiles, header.qp, header.lanes)
    z = reader.read_z()
    symbols = reader.read_y(scale_indices(NET, z, header.qp))
    return seal_packet(replace(header, **changes), packet.payload, z, symbols)  # type: ignore[arg-type]


SLICINGS = [
    Slicing(),
    Slicing(slices=5),
    Slicing(slices=4, dispersed=True),
    Slicing(target_bytes=300),
    Slicing(target_bytes=700, dispersed=True),
    Slicing(target_bytes=64),
]


@pytest.mark.parametrize("slicing", SLICINGS, ids=str)
@pytest.mark.parametrize("qp", [0, 63])
def test_a_frame_comes_back_as_it_was_coded(slicing: Slicing, qp: int) -> None:
    frame = encoded(slicing, qp=qp)
    shown = decoder().decode(frame.unit.packets)

    assert np.array_equal(shown.frame.z, frame.output.z)
    assert np.array_equal(shown.frame.symbols, frame.output.symbols)
    assert shown.frame.complete
    assert shown.frame.damage == ()
    assert frame.output.reconstruction is not None
    assert same_picture(shown.planes, frame.output.reconstruction)
    assert [p.header.last for p in frame.unit.slices][-1]
    assert sum(p.header.last for p in frame.unit.slices) == 1


@pytest.mark.parametrize("slicing", SLICINGS, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_of_a_delta_frame_only_tiles_that_say_something_are_coded(
    slicing: Slicing, share: float
) -> None:
    whole = encoded(Slicing()).output
    rows, columns = whole.z.shape[1:]
    says = np.random.default_rng(3).random((rows, columns)) < share
    symbols = np.where(says.repeat(4, 0).repeat(4, 1), whole.symbols, 0).astype(np.int16)
    says = symbols.any(0).reshape(rows, 4, columns, 4).any((1, 3)).ravel()
    output = replace(whole, symbols=symbols, is_delta=True)
    delta_tables = replace(TABLES)  # equal, and told apart
    packer = FramePacker(TABLES, slicing, delta_tables=delta_tables)
    label = FrameLabel(frame_number=1, qp=20, keyframe=False, reference=0)
    seen = 0
    for packet in packer.pack(output, label, WIDTH, HEIGHT):
        tiles = tile_indices(packet.header.tiles, WIDTH, HEIGHT)
        n_map = -(-tiles.size // 8)
        assert packet.payload[:n_map] == write_still_map(says[tiles])
        coded = tiles[says[tiles]].astype(np.uint32)
        seen += coded.size
        if not coded.size:
            assert len(packet.payload) == n_map
            continue
        lanes, payload = packet.header.lanes, packet.payload[n_map:]
        reader = SliceDecoder(delta_tables, payload, coded.size, 20, lanes)
        assert np.array_equal(reader.read_z(), gather_hyper(output.z, coded))
        back = reader.read_y(gather_tiles(output.indices, coded))
        assert np.array_equal(back, gather_tiles(symbols, coded))
    assert seen == says.sum()


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (8191, 3)])
def test_any_size_goes_through(size: tuple[int, int]) -> None:
    width, height = size
    source = encoder(Slicing(target_bytes=400), width, height)
    frame = source.encode(noise(width, height), qp=10, pts=5, keyframe=True, reconstruct=True)
    shown = decoder(width, height).decode(frame.unit.packets)
    assert (shown.planes.width, shown.planes.height) == size
    assert frame.output.reconstruction is not None
    assert same_picture(shown.planes, frame.output.reconstruction)


@pytest.mark.parametrize("dispersed", [False, True])
def test_packets_keep_to_their_target_and_come_close_to_it(dispersed: bool) -> None:
    source = encoder(Slicing(target_bytes=1000, dispersed=dispersed), 1280, 720)
    frame = source.encode(picture(1280, 720), qp=40, pts=0, keyframe=True)
    sizes = [len(write_packet(packet)) for packet in frame.unit.packets]
    assert max(sizes) <= 1000
    assert min(sizes[:-1]) > 700


def test_a_tile_larger_than_the_target_gets_a_packet_of_its_own() -> None:
    frame = encoded(Slicing(target_bytes=64), qp=0)
    assert len(frame.unit.packets) == 24
    assert max(len(write_packet(packet)) for packet in frame.unit.packets) > 64


class CheapCosts(TileCosts):
    """Believes that every tile is nearly free."""

    def bits_of(self, coder: SliceEncoder) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.full(24, 1.0)


@pytest.mark.parametrize("dispersed", [False, True])
def test_a_run_that_came_out_too_large_is_cut_again(
    monkeypatch: pytest.MonkeyPatch, dispersed: bool
) -> None:
    monkeypatch.setattr("rtcodec.codec.encoder.TileCosts", CheapCosts)
    frame = encoded(Slicing(target_bytes=500, dispersed=dispersed))
    assert max(len(write_packet(packet)) for packet in frame.unit.packets) <= 500
    assert decoder().decode(frame.unit.packets).frame.complete


def test_frame_numbers_count_and_wrap() -> None:
    source = encoder(Slicing(), 16, 16)
    source._frame_number = 0xFFFF
    numbers = [
        source.encode(noise(16, 16), qp=0, pts=pts, keyframe=False).unit.header.frame_number
        for pts in range(2)
    ]
    assert numbers == [0xFFFF, 0]
    source.close()


def test_headers_say_what_they_were_told() -> None:
    description = Description(0xABCD, Geometry(WIDTH, HEIGHT))
    source = FrameEncoder(
        NullEngine(), FramePacker(TABLES, Slicing(slices=2)), WIDTH, HEIGHT, description=description
    )
    frame = source.encode(picture(WIDTH, HEIGHT), qp=33, pts=-4, keyframe=False)
    assert frame.unit.pts == -4
    for packet in frame.unit.slices:
        assert packet.header.description == description
        assert (packet.header.qp, packet.header.keyframe) == (33, False)


def test_a_missing_packet_costs_its_own_tiles_and_nothing_else() -> None:
    frame = encoded(Slicing(slices=4))
    kept = [p for i, p in enumerate(frame.unit.packets) if i != 1]
    shown = decoder().decode(kept)
    whole = decoder().decode(frame.unit.packets)

    assert shown.frame.present.ravel().tolist() == [True] * 6 + [False] * 6 + [True] * 12
    assert not shown.frame.symbols[:, 4:8].any()
    assert np.array_equal(shown.frame.symbols[:, 8:], whole.frame.symbols[:, 8:])
    assert same_picture(decoder().paint(shown.frame).planes, shown.planes)
    assert not shown.frame.complete


def test_packets_may_come_in_any_order_among_extensions() -> None:
    frame = encoded(Slicing(slices=4))
    mixed = [Extension(6, b"later"), *reversed(frame.unit.packets)]
    assert decoder().decode(mixed).frame.complete


def test_a_damaged_payload_is_noticed_and_concealed() -> None:
    frame = encoded(Slicing(slices=4))
    packets = list(frame.unit.slices)
    payload = bytearray(packets[2].payload)
    payload[len(payload) // 2] ^= 0x10
    packets[2] = Packet(packets[2].header, bytes(payload))
    shown = decoder().decode(packets)

    assert len(shown.frame.damage) == 1
    assert shown.frame.present.sum() == 18
    assert not shown.frame.z[:, 2].any()


def test_a_header_that_lies_is_caught_by_the_check_word() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    lie = Packet(replace(packet.header, frame_number=7), packet.payload)
    with pytest.raises(Corrupt, match="check word"):
        decoder().decode([lie])


def test_nothing_decodable_is_an_error() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    with pytest.raises(Truncated, match="no slice of the frame is here"):
        decoder().decode([])
    with pytest.raises(BitstreamError):
        decoder().decode([Packet(packet.header, b"")])


def test_a_tile_that_comes_twice_is_refused_once() -> None:
    frame = encoded(Slicing(slices=2))
    shown = decoder().decode([*frame.unit.packets, frame.unit.packets[0]])
    assert shown.frame.complete
    assert "coded twice" in str(shown.frame.damage[0])


def test_a_slice_of_another_frame_is_left_out() -> None:
    first, second = encoded(Slicing(slices=2)).unit.slices
    stray = resealed(second, frame_number=9)
    shown = decoder().decode([first, stray])
    assert "differ in frame_number" in str(shown.frame.damage[0])
    assert shown.frame.present.sum() == 12


def test_a_slice_of_another_size_is_left_out() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    described = resealed(packet, description=Description(0, Geometry(64, 64)))
    with pytest.raises(Corrupt, match="a slice of 64x64 in 330x200"):
        decoder().decode([described])
    fitting = resealed(packet, description=Description(0, Geometry(WIDTH, HEIGHT)))
    assert decoder().decode([fitting]).frame.complete


def test_tiles_outside_the_frame_are_refused() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    outside = Packet(replace(packet.header, tiles=TileRange(20, 5)), packet.payload)
    with pytest.raises(Corrupt, match="tiles up to 25 in a frame of 24"):
        decoder().decode([outside])


def test_a_reference_that_is_not_held_is_refused() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    predicted = resealed(packet, keyframe=False, reference=1)
    with pytest.raises(Unsupported, match="reference 1 is not held") as raised:
        decoder(references=2).decode([predicted])
    moved = raised.value.shifted(3)
    assert (moved.offset, moved.unheld_frame) == (3, packet.header.frame_number)


def test_a_slot_that_was_not_declared_is_refused() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    with pytest.raises(Corrupt, match="declared no reference 4"):
        decoder(references=2).decode([resealed(packet, store=4)])


def test_an_engine_that_keeps_nothing_holds_no_reference() -> None:
    packet = encoded(Slicing()).unit.slices[0]
    receiver = decoder(references=2)
    receiver.decode([resealed(packet, store=0)])
    with pytest.raises(Unsupported):
        receiver.decode([resealed(packet, keyframe=False, reference=0)])
    receiver.close()


def test_unpacking_needs_no_engine() -> None:
    frame = encoded(Slicing(slices=3))
    got = unpack_frame(frame.unit.packets, tables=TABLES, net=NET, width=WIDTH, height=HEIGHT)
    assert np.array_equal(got.symbols, frame.output.symbols)
    assert got.header.qp == 20


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"target_bytes": 63}, "below 64"), ({"slices": 0}, "0 slices")],
)
def test_slicing_refuses_what_cannot_be(limits: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slicing(**limits)  # type: ignore[arg-type]


def test_halves_cover_a_run() -> None:
    one, two = halves(TileRange(3, 5, dispersed=True))
    assert (one, two) == (TileRange(3, 2, dispersed=True), TileRange(5, 3, dispersed=True))


def test_lanes_grow_with_the_payload() -> None:
    assert [lanes_for(size) for size in (0, 512, 2048, 8192)] == [1, 2, 4, 8]


def test_costs_agree_with_the_entropy_coder() -> None:
    tables: EntropyTables = example_tables(4)
    rng = np.random.default_rng(3)
    z = rng.integers(-15, 16, (40, 4)).astype(np.int8)
    indices = rng.integers(0, 64, (40, 12, 16)).astype(np.uint8)
    symbols = np.round(rng.laplace(0, 20, indices.shape)).astype(np.int16)
    symbols[0, 0, 0] = 30000
    indices[0, 0, 0] = 5
    symbols[indices == 0] = 0
    bits = TileCosts(tables).bits(z, symbols, indices, 12)
    payload = encode_slice(tables, z, symbols, indices, 12, 1)

    assert np.allclose(bits, TileCosts(tables).bits_reference(z, symbols, indices, 12), rtol=1e-3)
    assert abs(bits.sum() - 8 * len(payload)) < 0.002 * bits.sum() + 64


def test_costs_of_other_tables_are_refused() -> None:
    blank = np.zeros((2, 24, 16), np.uint8)
    with pytest.raises(ValueError, match="are not costs"):
        tile_costs(TABLES, np.zeros(3, np.uint16), blank.astype(np.int16), blank)


def test_costs_without_escapes_and_without_tiles() -> None:
    costs = TileCosts(TABLES)
    none = np.zeros((0, 24, 16), np.uint8)
    assert costs.bits(np.zeros((0, 3), np.int8), none.astype(np.int16), none, 0).size == 0
    blank = np.zeros((2, 24, 16), np.uint8)
    assert costs.bits(np.zeros((2, 3), np.int8), blank.astype(np.int16), blank, 0).min() > 0
