"""Studies over real connections: first a preview, then exact and proven; nobody's name anywhere."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec import cli
from rtcodec.bitstream.exact_file import FrameKind
from rtcodec.bitstream.exact_format import ALL_STEPS, STEPS
from rtcodec.bitstream.exact_index import region_of
from rtcodec.bundle import find_bundle
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.loader import open_engine
from rtcodec.exact.partial import PartialPicture
from rtcodec.session.study_message import Quality
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import Link, LinkSettings
from rtcodec_client.study_store import HeldPicture, StudyStore
from rtcodec_server import study_library
from rtcodec_server.access import Grant
from rtcodec_server.app import RunningServer
from rtcodec_server.study_config import StudyConfig
from support import command
from support.dicom_files import SECRET
from support.exact_pictures import doppler
from support.relay import KEYS, SDP, RelayClient, relay, sign, token_for, until
from support.studies import Viewing, put_picture, smooth_frames, viewing
from support.tab import offer_channel
from support.workers import crew

pytest.importorskip("pydicom", reason="the extra medical is not installed")

NOTHING = Impairment()


@asynccontextmanager
async def studies(folder: Path, **settings: Any) -> AsyncIterator[RunningServer]:
    """Offer a folder."""
    of_relay = {name: settings.pop(name) for name in ("keys",) if name in settings}
    config = StudyConfig(directory=folder, **settings)
    async with relay(studies=config, **of_relay) as (server, _):
        yield server


@asynccontextmanager
async def thin_link(rate_bps: int) -> AsyncIterator[Link]:
    down = Impairment(rate_bps=rate_bps, delay_us=10_000)
    link = await Link.open(LinkSettings(NOTHING, down, seed=1), "viewer", loopback_only=True)
    try:
        yield link
    finally:
        link.close()


def samples_of(picture: HeldPicture) -> NDArray[Any]:
    return np.stack([picture.samples[frame] for frame in range(len(picture.samples))])


def steps_of(picture: HeldPicture, region: tuple[int, int, int, int] | None = None) -> int:
    part = picture.part
    header = None if part is None else part.header()
    if part is None or header is None:
        return 0
    return part.steps(0, None if region is None else region_of(header, *region))


async def test_a_preview_comes_first_and_in_the_end_the_exact_file(tmp_path: Path) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 300, 400))
    async with studies(tmp_path, model="n64") as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        request = one.session.request(picture, preview=True)
        order: list[str] = []
        one.session.on_change = lambda p: order.append("data" if p.part else "preview")
        await one.until(lambda: picture.is_settled and request in one.session.done)
        assert picture.preview is not None
        assert order[-1] == "data"
        about = picture.about
        assert about["state"] == "ready"
        assert about["preview"]["bytes"] <= 0.04 * about["bytes"]
        assert (about["window"], about["preview"]["model"]) == ([2000.0, 4000.0], "n64")
        assert (about["bits"], about["signed"], about["photometric"]) == (12, False, "MONOCHROME2")
        assert picture.claim == "lossless, verified"
        assert np.array_equal(samples_of(picture), samples)
        assert picture.part is not None
        assert picture.part.held.size_bytes == about["bytes"]
        assert picture.part.repeated_bytes == 0
        bundle = find_bundle("n64")
        engine = open_engine("auto", bundle)
        with contextlib.closing(engine), contextlib.closing(PictureDecoder(engine, bundle)) as dec:
            shown = dec.decode(picture.preview.packets).planes.y
        ideal = np.clip((samples[0, ..., 0] - 2000.0) / 3999 + 0.5, 0, 1) * 255
        factor = round(300 / shown.shape[0])
        apart = np.abs(shown.astype(float) - ideal[::factor, ::factor][: len(shown)])
        assert np.mean(apart) < 12


async def test_a_picture_of_few_colours_has_a_palette_in_place_of_a_bound(tmp_path: Path) -> None:
    frame = doppler()
    np.save(tmp_path / "a.npy", frame)
    async with studies(tmp_path, within=2) as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        request = one.session.request(picture)
        await one.until(lambda: picture.is_settled and request in one.session.done)
        assert picture.part is not None
        header = picture.part.header()
        assert header is not None
        assert header.palette
        assert (picture.about["within"], picture.about["components"]) == (0, 3)
        assert picture.claim == "lossless, verified"
        assert np.array_equal(picture.samples[0], frame)


async def test_frames_of_a_cine_are_all_coarse_before_any_is_exact(tmp_path: Path) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(6, 100, 130), FrameTime=40)
    async with studies(tmp_path) as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        coarse_when_exact: list[int] = []

        def note(changed: HeldPicture) -> None:
            part = changed.part
            if part is not None and part.header() is not None and not coarse_when_exact:
                steps = [part.steps(frame) for frame in range(6)]
                if max(steps) == ALL_STEPS:
                    coarse_when_exact.append(min(steps))

        one.session.on_change = note
        one.session.request(picture)
        await one.until(lambda: picture.is_settled)
        assert coarse_when_exact == [STEPS]
        assert picture.about["frame_ms"] == 40
        assert np.array_equal(samples_of(picture), samples)


async def test_a_region_asked_for_later_is_exact_long_before_the_rest(tmp_path: Path) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 1024, 1024))
    box = (530, 530, 200, 200)
    async with (
        studies(tmp_path) as server,
        thin_link(4_000_000) as link,
        viewing(server, StudyStore(), link=link) as one,
    ):
        picture = await one.picture()
        one.session.request(picture)
        await one.until(lambda: steps_of(picture) >= 2)
        assert picture.part is not None
        held_before = picture.part.held.size_bytes
        region = one.session.request(picture, priority=0, region=box)
        held_then: list[int] = []

        def note(_: HeldPicture) -> None:
            if steps_of(picture, box) == ALL_STEPS and not held_then and picture.part is not None:
                held_then.append(picture.part.held.size_bytes)

        one.session.on_change = note
        await one.until(lambda: picture.is_settled)
        (held,) = held_then
        assert held - held_before < 0.3 * picture.part.size_bytes
        assert region in one.session.done
        assert picture.part.repeated_bytes == 0


async def test_after_a_cut_nothing_is_sent_again(tmp_path: Path) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 512, 512))
    store = StudyStore()
    async with studies(tmp_path) as server:
        async with thin_link(4_000_000) as link, viewing(server, store, link=link) as one:
            picture = await one.picture()
            one.session.request(picture)
            await one.until(lambda: steps_of(picture) >= STEPS - 1)
        part = picture.part
        assert part is not None
        held = part.held.size_bytes
        assert 0 < held < part.size_bytes
        async with viewing(server, store) as one:
            again = await one.picture()
            assert again is picture
            one.session.request(picture)
            await one.until(lambda: picture.is_settled)
        assert picture.part is part
        assert part.repeated_bytes == 0
        assert picture.claim == "lossless, verified"
        assert np.array_equal(samples_of(picture), samples)


async def test_what_was_held_of_another_file_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 90, 80))
    store = StudyStore()
    async with studies(tmp_path) as server:
        async with viewing(server, store) as one:
            picture = await one.picture()
            one.session.request(picture)
            await one.until(lambda: picture.is_settled)
        first, version = picture.part, picture.version
        samples = put_picture(tmp_path / "a.dcm", smooth_frames(1, 91, 80, seed=2))
        monkeypatch.setattr(study_library, "_LOOK_EVERY_US", 0)
        async with viewing(server, store) as one:
            assert await one.picture() is picture
            one.session.request(picture)
            await one.until(lambda: picture.version != version and picture.is_settled)
        assert picture.part is not first
        assert np.array_equal(samples_of(picture), samples)


async def test_a_damaged_tile_raises_an_alarm_and_comes_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = put_picture(tmp_path / "a.dcm", smooth_frames(2, 300, 280))
    put = PartialPicture.put

    def put_damaged(self: PartialPicture, offset: int, data: bytes) -> None:
        at = self.size_bytes - 3000  # in the finest step of the last frame
        if offset <= at < offset + len(data):
            data = data[: at - offset] + bytes([data[at - offset] ^ 8]) + data[at - offset + 1 :]
        put(self, offset, data)

    monkeypatch.setattr(PartialPicture, "put", put_damaged)
    audit = tmp_path / "audit.jsonl"
    pictures = tmp_path
    store = StudyStore()
    async with studies(pictures, audit=audit) as server, viewing(server, store) as one:
        picture = await one.picture()
        one.session.request(picture)
        await one.until(lambda: picture.is_settled)
        assert store.alarms == 1
        assert picture.otherwise == {1}
        assert picture.claim == "lossless, verified"
        assert np.array_equal(samples_of(picture), samples)
        assert server.relay.studies is not None
        stats = server.relay.studies.stats
        await one.until(lambda: (stats.alarms, stats.fallbacks) == (1, 1))
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as page:
            assert "rtcodec_study_alarms_total 1.0" in await page.text()
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [e["first_frame"] for e in events if e["event"] == "alarm"] == [1]
    assert audit.stat().st_mode & 0o777 == 0o600


async def test_a_fallback_that_is_not_it_either_is_never_called_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 64, 64))
    monkeypatch.setattr("rtcodec.exact.partial.is_proven", lambda *_: False)
    async with studies(tmp_path) as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        one.session.request(picture)
        await one.until(lambda: picture.is_settled)
        assert picture.claim == "NOT VERIFIED"
        assert picture.quality == {0: Quality.NOT_VERIFIED}
        assert not picture.samples


async def test_who_has_no_token_for_the_studies_of_a_room_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    put_picture(tmp_path / "ward" / "a.dcm", smooth_frames(1, 40, 40))
    tokens = {
        None: 401,
        token_for("ward", subscribe=True, publish=True, admin=True, record=True): 403,
        token_for("ward7", study=True): 403,
    }
    async with studies(tmp_path, keys=KEYS) as server:
        for token, status in tokens.items():
            async with RelayClient(server.url, token=token) as client:
                _, offer = await offer_channel(client)
                async with client.http.post("/study/ward", data=offer, headers=SDP) as response:
                    assert response.status == status
        allowed = token_for("w*", study=True)
        async with viewing(server, StudyStore(), room="ward", token=allowed) as one:
            await one.picture()
        async with RelayClient(server.url, token=allowed) as client:
            _, offer = await offer_channel(client)
            async with client.http.post("/whep/ward", data=offer, headers=SDP) as response:
                assert response.status == 403


async def test_the_audit_says_who_saw_what_at_which_quality(tmp_path: Path) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 64, 64))
    audit = tmp_path / "audit.jsonl"
    token = sign(Grant(room="demo", study=True, subject="dr.b"))
    async with (
        studies(tmp_path, keys=KEYS, audit=audit) as server,
        viewing(server, StudyStore(), token=token) as one,
    ):
        picture = await one.picture()
        one.session.request(picture)
        await one.until(lambda: picture.is_settled)
        await until(lambda: "shown" in audit.read_text())
    requested, shown = (json.loads(line) for line in audit.read_text().splitlines())
    assert (requested["event"], requested["steps"]) == ("requested", 7)
    assert (shown["event"], shown["quality"]) == ("shown", "lossless, verified")
    for event in (requested, shown):
        assert (event["subject"], event["room"]) == ("dr.b", "demo")
        assert event["instance"] == picture.id
        assert event["time"].endswith("Z")


async def test_no_patient_is_named_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "studies" / "ward" / f"{SECRET}_B"
    folder.mkdir(parents=True)
    put_picture(folder / f"{SECRET}.dcm", smooth_frames(1, 140, 150), PatientComments=SECRET)
    put_picture(folder / f"{SECRET}2.dcm", smooth_frames(1, 64, 64), BurnedInAnnotation="YES")
    (folder / f"{SECRET}3.dcm").write_bytes(b"\0" * 128 + b"DICM" + SECRET.encode() * 9)
    (folder / f"{SECRET}4.rtc").write_bytes(SECRET.encode() * 9)
    cache, audit = tmp_path / "cache", tmp_path / "audit.jsonl"
    cache.mkdir()
    said: list[bytes] = []
    async with (
        studies(tmp_path / "studies", cache=cache, audit=audit, model="n64") as server,
        viewing(server, StudyStore(), room="ward") as one,
    ):
        hear = one.session._hear
        one.session._channel.remove_all_listeners("message")

        def overhear(data: bytes) -> None:
            said.append(data)
            hear(data)

        one.session._channel.on("message", overhear)
        await one.picture()
        for picture in one.session.pictures:
            one.session.request(picture, preview=True)
        await one.until(lambda: all(p.is_settled for p in one.session.pictures))
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as page:
            said.append(await page.read())
        said += [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
        said += [str(path).encode() for path in cache.rglob("*")]
        claims = sorted(picture.claim for picture in one.session.pictures)
    assert "lossless, verified" in claims
    assert sum("verified" in claim for claim in claims) == 1
    assert any("allow_burned_in" in claim for claim in claims)
    assert not list(cache.iterdir())  # nothing is left of what was prepared
    said += [audit.read_bytes(), caplog.text.encode(), "".join(capfd.readouterr()).encode()]
    assert len(said) > 10
    for data in said:
        assert SECRET.encode() not in data
    assert all(SECRET not in str(record.__dict__) for record in caplog.records)


async def test_a_picture_that_ends_its_preparer_fails_and_the_next_one_comes(
    tmp_path: Path,
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 700, 700))
    put_picture(tmp_path / "b.dcm", smooth_frames(1, 64, 64))
    async with studies(tmp_path, ahead=False) as server, viewing(server, StudyStore()) as one:
        first, second = await one.picture(0), await one.picture(1)
        one.session.request(first)
        await one.until(lambda: first.about["state"] == "preparing")
        library = server.relay.studies
        assert library is not None
        assert library._process is not None
        library._process.kill()
        await one.until(lambda: first.problem)
        assert first.claim == "preparing it ended unexpectedly"
        assert one.session.refusals[0]["code"] == "failed"
        one.session.request(second)
        await one.until(lambda: second.is_settled)
        assert second.is_verified


async def test_a_picture_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 64, 64))
    monkeypatch.setattr(study_library, "_TICK_S", 0.001)
    settings = {"ahead": False, "prepare_s": 0.001}  # less than it takes to start a process
    async with studies(tmp_path, **settings) as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        one.session.request(picture)
        await one.until(lambda: picture.problem)
        assert picture.claim == "preparing it took too long"


@asynccontextmanager
async def exact_files(
    tmp_path: Path, *options: str
) -> AsyncIterator[tuple[NDArray[Any], bytes, Viewing]]:
    """A picture whole, with an identity, damaged: its samples, the first file, who saw them."""
    folder, scan = tmp_path / "studies", tmp_path / "scan.dcm"
    folder.mkdir()
    samples = put_picture(scan, smooth_frames(2, 90, 150))
    words = ("encode", "--lossless", *options, str(scan))
    assert cli.main([*words, str(folder / "a.rtc")]) == 0
    assert cli.main([*words, "--keep-identity", str(folder / "b.rtc")]) == 0
    data = (folder / "a.rtc").read_bytes()
    (folder / "c.rtc").write_bytes(data[:-400] + bytes([data[-400] ^ 1]) + data[-399:])
    async with studies(folder) as server, viewing(server, StudyStore()) as one:
        await one.picture()
        for picture in one.session.pictures:
            one.session.request(picture)
        await one.until(lambda: all(p.is_settled for p in one.session.pictures))
        yield samples, data, one


async def test_exact_files_are_offered_as_they_are_unless_they_name_somebody(
    tmp_path: Path,
) -> None:
    async with exact_files(tmp_path) as (samples, data, one):
        whole, named, damaged = one.session.pictures
        part = whole.part
        assert part is not None
        await one.until(lambda: part.held.size_bytes == part.size_bytes)
        assert part.data == data
        assert np.array_equal(samples_of(whole), samples)
        assert "holds an identity" in named.claim
        assert damaged.problem


@pytest.mark.parametrize("codec", ["jpeg-ls", "htj2k", "jpegxl"])
async def test_exact_files_of_others_codecs_are_offered_as_what_viewers_read(
    tmp_path: Path, codec: str
) -> None:
    """JPEG-LS as it is and whole; the others coded anew, coarse to fine."""
    async with exact_files(tmp_path, "--exact-codec", codec) as (samples, _, one):
        whole, named, damaged = one.session.pictures
        part = whole.part
        assert part is not None
        header, head = part.header(), part.head(0)
        assert header is not None
        assert head is not None
        is_kept = codec == "jpeg-ls"
        assert (header.is_whole, header.bound) == (False, 0 if is_kept else 2)
        assert head.kind == (FrameKind.JPEG_LS if is_kept else FrameKind.TILES)
        assert whole.claim == "lossless, verified"
        assert np.array_equal(samples_of(whole), samples)
        assert one.session.store.alarms == 0
        assert "holds an identity" in named.claim
        assert damaged.problem


async def test_what_was_not_used_for_longest_leaves_the_cache_and_can_be_had_again(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(1).integers(0, 4096, (3, 700, 700)).astype(np.uint16)
    for number, name in enumerate("abc"):
        put_picture(tmp_path / f"{name}.dcm", noise[number : number + 1])
    store = StudyStore()
    async with studies(tmp_path, ahead=False, cache_mb=2) as server:
        library = server.relay.studies
        assert library is not None
        async with viewing(server, store) as one:
            for number in (0, 1, 2):
                picture = await one.picture(number)
                one.session.request(picture)
                await one.until(partial(getattr, picture, "is_settled"))
            assert library.stats.evicted == 1
            assert library.cached_bytes <= 2_000_000
            assert library.states["ready"] == 2
        versions = [picture.version for picture in one.session.pictures]
        async with viewing(server, store) as one:
            first = await one.picture(0)
            assert first.about["state"] == "waiting"
            part = first.part
            assert part is not None
            one.session.request(first)
            await one.until(lambda: first.about["state"] == "ready" and 1 in one.session.done)
            assert first.part is part  # it is the same file again
            assert part.repeated_bytes == 0
        assert [picture.version for picture in one.session.pictures] == versions
        assert first.is_verified


async def test_offers_of_anything_else_and_rooms_without_studies_are_refused(
    tmp_path: Path,
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 40, 40))
    async with studies(tmp_path) as server, RelayClient(server.url) as client:
        for room, video, status in (("demo", True, 422), ("other", False, 404)):
            _, offer = await offer_channel(client, video=video)
            async with client.http.post(f"/study/{room}", data=offer, headers=SDP) as response:
                assert response.status == status
        assert server.relay.n_sessions == 0
    async with relay() as (server, client):
        _, offer = await offer_channel(client)
        async with client.http.post("/study/demo", data=offer, headers=SDP) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    "message", [b"", b"\x09", b"\x01\xff\xff\xff\xff\xff\xff", b"\x02\x01\x01"]
)
async def test_a_malformed_message_ends_the_session(tmp_path: Path, message: bytes) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(1, 40, 40))
    async with studies(tmp_path) as server, viewing(server, StudyStore()) as one:
        await one.picture()
        one.session._channel.send(message or b"\x00")
        await until(lambda: server.relay.sessions_closed.get("lost") == 1)
        assert server.relay.n_sessions == 0


async def test_requests_for_what_is_not_there_are_refused_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    put_picture(tmp_path / "a.dcm", smooth_frames(2, 40, 40))
    async with studies(tmp_path) as server, viewing(server, StudyStore()) as one:
        picture = await one.picture()
        one.session.request(picture, frames=(2, 1))
        one.session.request(picture, region=(40, 0, 5, 5))
        one.session.request(HeldPicture("nothing", number=7))
        await one.until(lambda: len(one.session.refusals) == 3)
        assert {refusal["code"] for refusal in one.session.refusals} == {"unknown"}
        one.session.request(picture, frames=(1, 1))
        await one.until(lambda: 1 in picture.samples)
        assert 0 not in picture.samples


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="worker processes need Linux")
async def test_studies_come_from_worker_processes_too(tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    samples = put_picture(tmp_path / "ward" / "a.dcm", smooth_frames(1, 64, 64))
    options = ("--workers", "2", "--warm", "160x96", "--studies", str(tmp_path))
    async with crew(*options) as it:
        async with viewing(it, StudyStore(), room="ward") as one:
            picture = await one.picture()
            one.session.request(picture)
            await one.until(lambda: picture.is_settled)
            assert np.array_equal(samples_of(picture), samples)
        assert await it.metric("rtcodec_study_prepared_total") == 1


async def test_watch_saves_what_is_proven_as_dicom_and_arrays(tmp_path: Path) -> None:
    import pydicom

    folder, seen = tmp_path / "studies", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    samples = put_picture(folder / "a.dcm", smooth_frames(2, 90, 70))
    array = smooth_frames(1, 50, 60, seed=3)[0]
    np.save(folder / "b.npy", array)
    async with studies(folder) as server:
        url = f"{server.url}/study/demo"
        watching = await command.start("watch", url, "--output", str(seen), "--json")
        ended = await command.outcome(watching)
    assert ended.code == 0, ended.err
    first, second = ended.document["pictures"]
    assert first["status"] == second["status"] == "lossless, verified"
    assert ended.document["alarms"] == ended.document["cuts"] == 0
    dataset = pydicom.dcmread(first["saved"])
    assert np.array_equal(dataset.pixel_array[..., None], samples)
    assert dataset.PatientIdentityRemoved == "YES"
    assert np.array_equal(np.load(second["saved"]), array)
    assert SECRET not in ended.err + ended.out


async def test_watch_goes_on_after_its_session_was_ended(tmp_path: Path) -> None:
    folder, seen = tmp_path / "studies", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    put_picture(folder / "a.dcm", smooth_frames(1, 1500, 1500))
    async with studies(folder, ahead=False) as server:
        url = f"{server.url}/study/demo"
        watching = await command.start("watch", url, "--output", str(seen), "--json")
        await until(lambda: server.relay.occupancy.subscribers("demo"))
        (session,) = server.relay.occupancy.subscribers("demo")
        await until(lambda: session.peer.report().get("requests"))
        await server.relay.occupancy.end("demo")
        ended = await command.outcome(watching)
    assert ended.code == 0, ended.err
    assert ended.document["cuts"] == 1
    assert "connecting again" in ended.err
    (shown,) = ended.document["pictures"]
    assert "within 2 of every sample, not verified, after" in ended.err
    assert shown["within"] == 2
    assert 0 < shown["within_ms"] < shown["whole_ms"]


async def test_watch_of_what_cannot_be_had_says_so_and_fails(tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 99)
    async with studies(folder) as server:
        watching = await command.start("watch", f"{server.url}/study/demo", "--json")
        ended = await command.outcome(watching)
        assert ended.code == 1
        assert "not every picture came and was proven" in ended.last_line
        gone = await command.start("watch", f"{server.url}/study/else")
        assert "no studies are offered there" in (await command.outcome(gone)).last_line
