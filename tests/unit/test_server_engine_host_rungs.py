"""The engine's threads: rungs of one frame go together."""

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.codec.denoiser import AUTO, Denoiser
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.frame_request import CodedFrame, FrameRequest
from support.engine_bench import FAR_US, Bench, bench, grey_planes
from support.pictures import noise, same_picture
from support.relay import until


def rung_request(b: Bench, rung: int, size: tuple[int, int], **kwargs: object) -> FrameRequest:
    return FrameRequest(
        stream=1,
        state=b.states[rung],
        planes=grey_planes(64, 48),
        qp=10,
        deadline_us=monotonic_us() + FAR_US,
        on_coded=b.results.coded.append,
        on_dropped=b.results.dropped.append,
        on_psnr=b.results.psnr.append,
        frame_number=7,
        rung=rung,
        size=None if size == (64, 48) else size,
        **kwargs,  # type: ignore[arg-type]
    )


async def open_rungs(b: Bench, *sizes: tuple[int, int]) -> None:
    for rung, size in enumerate(sizes):
        b.states[rung] = await b.host.open_state(*size)


def layer_of(coded: CodedFrame) -> tuple[int, int, int, int]:
    """Rung, temporal layer and size that the packets of a frame say."""
    packet = read_packet(coded.packets[0])
    assert isinstance(packet, Packet)
    assert packet.header.description is not None
    layer, geometry = packet.header.layer, packet.header.description.geometry
    return layer.rung, layer.temporal, geometry.width, geometry.height


async def test_rungs_of_a_frame_run_in_one_batch_in_the_order_given() -> None:
    sizes = [(64, 48), (48, 36), (130, 98)]
    async with bench() as b:
        await open_rungs(b, *sizes)
        b.host.submit(*(rung_request(b, rung, sizes[rung]) for rung in (1, 2, 0)))
        await until(lambda: b.results.count == 3)
        assert [layer_of(coded) for coded in b.results.coded] == [
            (1, 0, 48, 36), (0, 0, 64, 48), (2, 0, 130, 98),
        ]  # fmt: skip
        assert b.engine.batches == [2, 1]  # those of one padded size in one call
        assert {coded.taken_us for coded in b.results.coded} == {b.results.coded[0].taken_us}
        assert {coded.frame_number for coded in b.results.coded} == {7}


async def test_a_frame_is_cleaned_once_for_all_its_rungs() -> None:
    cleaned: list[Planes] = []

    class Counting(Denoiser):
        def clean(self, planes: Planes) -> Planes:
            cleaned.append(super().clean(planes))
            return cleaned[-1]

    sizes, shown = [(64, 48), (48, 36)], noise(64, 48)
    async with bench() as b:
        await open_rungs(b, *sizes)
        denoiser = Counting(AUTO, thorough=False)
        requests = [
            rung_request(b, rung, sizes[rung], denoiser=denoiser)._replace(planes=shown)
            for rung in (0, 1)
        ]
        b.host.submit(*requests)
        await until(lambda: len(b.results.coded) == 2)
    assert cleaned[0] is cleaned[1]
    assert not same_picture(cleaned[0], shown)
    first = b.engine.jobs[0].planes
    assert same_picture(first, cleaned[0])


async def test_rungs_of_a_frame_are_dropped_together() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48), (32, 24))
        b.engine.gate.clear()
        b.host.submit(rung_request(b, 0, (64, 48)))
        await until(lambda: b.engine.is_running)
        for _ in range(2):
            b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (32, 24)))
        await until(lambda: len(b.results.dropped) == 2)
        assert b.results.dropped == ["superseded"] * 2
        b.engine.gate.set()
        await until(lambda: len(b.results.coded) == 3)


async def test_an_engine_that_fails_at_rungs_fails_at_each() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48), (256, 128))
        b.engine.fails = True
        b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (256, 128)))
        await until(lambda: b.results.count == 2)
        assert b.results.dropped == ["engine_error"] * 2


async def test_every_rung_is_measured() -> None:
    async with bench("all") as b:
        await open_rungs(b, (64, 48), (32, 24))
        b.host.submit(rung_request(b, 0, (64, 48)), rung_request(b, 1, (32, 24)))
        await until(lambda: len(b.results.psnr) == 2)
        assert None not in b.results.psnr


async def test_without_references_every_other_frame_may_be_left_out() -> None:
    async with bench() as b:
        await open_rungs(b, (64, 48))
        b.host.submit(rung_request(b, 0, (64, 48), half_rate=True))
        await until(lambda: b.results.count == 1)
        assert layer_of(b.results.coded[0])[:2] == (0, 1)  # frame 7
        assert b.results.coded[0].temporal == 1
        assert b.results.coded[0].is_clean
