"""`rtcodec receive` as DICOM nodes meet it: pynetdicom's and dcmtk's clients, and hostile ones."""

import asyncio
import io
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec import cli
from rtcodec.bitstream.exact_file import ExactReader, FrameKind
from rtcodec.codec.exact_files import decode_frames, read_notes
from rtcodec.exact.frame import FrameCoder
from rtcodec.tls import client_context
from rtcodec_server import dicom_receiver
from rtcodec_server.dicom_receiver import (
    NO_PICTURE,
    REFUSED,
    SUCCESS,
    DicomReceiver,
    ReceiverOptions,
    receiver_context,
)
from support import command
from support.certificate import Certificates
from support.dicom_files import CT, SECRET, dicom_dataset, encapsulated, write_dataset

pytest.importorskip("pydicom", reason="the extra medical is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")
pynetdicom = pytest.importorskip("pynetdicom", reason="the extra medical is not installed")

STORESCU = "/usr/bin/storescu"  # dcmtk's; pynetdicom brings another of that name
EXPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
SAMPLES = np.random.default_rng(9).integers(0, 4096, (2, 40, 30)).astype(np.uint16)


class Node:
    """A running receiver and what it said."""

    def __init__(self, folder: Path, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.said: list[str] = []
        given = {
            "output": folder, "host": "127.0.0.1", "port": 0, "title": "RTCODEC", "callers": (),
            "max_bytes": 1 << 24, "max_error": 0, "keep_identity": False, "allow_burned_in": False,
        }  # fmt: skip
        self.receiver = DicomReceiver(ReceiverOptions(**{**given, **options}), self.said.append)
        self.port = self.receiver.start()

    def pictures(self) -> list[tuple[np.ndarray, dict[str, Any]]]:
        """All that it kept."""
        found = []
        for path in sorted(self.folder.iterdir()):
            header, frames, _ = decode_frames(io.BytesIO(path.read_bytes()))
            found.append((np.stack(frames)[..., 0], read_notes(header)))
        return found


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Node]:
    node = Node(folder, **options)
    try:
        yield node
    finally:
        node.receiver.close()
    assert SECRET not in "".join(node.said)


@contextmanager
def calling(
    node: Node,
    *,
    title: str = "SENDER",
    called: str = "RTCODEC",
    syntax: str = EXPLICIT,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Any]:
    sender = pynetdicom.AE(ae_title=title)
    sender.add_requested_context(CT, syntax)
    sender.add_requested_context("1.2.840.10008.1.1")
    tls_args = None if tls is None else (tls, "127.0.0.1")
    opened: list[socket.socket] = []  # pynetdicom closes none that the other end has reset
    association = sender.associate(
        "127.0.0.1",
        node.port,
        ae_title=called,
        tls_args=tls_args,
        evt_handlers=[
            (pynetdicom.evt.EVT_CONN_OPEN, lambda at: opened.append(at.assoc.dul.socket.socket))
        ],
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(timeout=60)
        for connection in opened:
            connection.close()


def test_what_is_sent_is_kept_exactly_and_without_the_patient(tmp_path: Path) -> None:
    with running(tmp_path / "out") as node:
        with calling(node) as association:
            assert association.is_established
            assert association.send_c_echo().Status == SUCCESS
            for number in range(2):
                dataset = dicom_dataset(SAMPLES, SOPInstanceUID=f"1.2.3.4.{number}")
                assert association.send_c_store(dataset).Status == SUCCESS
        pictures = node.pictures()
        assert node.receiver.n_stored == len(pictures) == 2
        for samples, notes in pictures:
            np.testing.assert_array_equal(samples, SAMPLES)
            assert SECRET not in str(notes)
        assert len({notes["uids"]["StudyInstanceUID"] for _, notes in pictures}) == 1
        assert all("lossless, verified" in line for line in node.said)
    assert not list(Path(tmp_path).glob("**/.*"))


def test_compressed_instances_are_taken(tmp_path: Path) -> None:
    frames = [bytes(imagecodecs.jpegls_encode(frame)) for frame in SAMPLES]
    dataset = encapsulated(dicom_dataset(SAMPLES), JPEG_LS, frames)
    with running(tmp_path / "out") as node:
        with calling(node, syntax=JPEG_LS) as association:
            assert association.send_c_store(dataset).Status == SUCCESS
        np.testing.assert_array_equal(node.pictures()[0][0], SAMPLES)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"BurnedInAnnotation": "YES"}, REFUSED),
        ({"Rows": 65535}, REFUSED),
        ({"NumberOfFrames": 9}, REFUSED),
        ({"PixelData": None, "Rows": None}, NO_PICTURE),
    ],
)
def test_what_is_refused_is_told_so_and_not_kept(
    tmp_path: Path, tags: dict[str, Any], status: int
) -> None:
    with running(tmp_path / "out") as node:
        with calling(node) as association:
            answer = association.send_c_store(dicom_dataset(SAMPLES, **tags))
            assert answer.Status == status
            assert 0 < len(answer.ErrorComment) <= 64
            assert SECRET not in answer.ErrorComment
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS
        assert (node.receiver.n_stored, node.receiver.n_refused) == (1, 1)
        assert len(node.pictures()) == 1


def test_only_those_named_may_call_and_only_by_the_right_name(tmp_path: Path) -> None:
    with running(tmp_path / "out", callers=("FRIEND", "OTHER")) as node:
        for title, called, is_let_in in (
            ("FRIEND", "RTCODEC", True),
            ("OTHER", "RTCODEC", True),
            ("STRANGER", "RTCODEC", False),
            ("FRIEND", "ANYBODY", False),
        ):
            with calling(node, title=title, called=called) as association:
                assert association.is_established == is_let_in
                assert association.is_rejected != is_let_in


def test_over_tls_a_caller_knows_whom_it_sends_to(tmp_path: Path) -> None:
    known = Certificates(tmp_path)
    with running(tmp_path / "out", tls=receiver_context(*known.server, None)) as node:
        with calling(node, tls=client_context(known.ca)) as association:
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS
            assert association.dul.socket.socket.version() in ("TLSv1.2", "TLSv1.3")
        with calling(node, tls=client_context(known.other_ca)) as association:
            assert not association.is_established
        with socket.create_connection(("127.0.0.1", node.port), timeout=60) as plain:
            plain.sendall(b"\x01\x00" + bytes(200))  # as an association begins in the clear
            with suppress(ConnectionResetError):
                assert plain.recv(1) in (b"\x15", b"")  # an alert of TLS
        np.testing.assert_array_equal(node.pictures()[0][0], SAMPLES)
        assert node.receiver.n_stored == 1


def test_over_mutual_tls_only_those_send_who_have_a_certificate(tmp_path: Path) -> None:
    known = Certificates(tmp_path)
    with running(tmp_path / "out", tls=receiver_context(*known.server, known.ca)) as node:
        for own, is_let_in in (((), False), (known.stranger, False), (known.client, True)):
            with calling(node, tls=client_context(known.ca, *own)) as association:
                assert association.is_established == is_let_in
                if is_let_in:
                    assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS
        assert len(node.pictures()) == 1


def test_callers_that_never_shake_hands_keep_nobody_out(tmp_path: Path) -> None:
    known = Certificates(tmp_path)
    tls = receiver_context(*known.server, None)
    with running(tmp_path / "out", tls=tls) as node, ExitStack() as silent:
        for _ in range(3):
            silent.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=60))
        with calling(node, tls=client_context(known.ca)) as association:
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS


def test_a_message_that_stops_halfway_gives_its_place_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_receiver, "SILENCE_S", 0.2)
    with running(tmp_path / "out") as node, ExitStack() as halves:
        callers = [
            halves.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=60))
            for _ in range(dicom_receiver.ASSOCIATIONS_MAX)
        ]
        for caller in callers:
            caller.sendall(b"\x01\x00\x00")
        for caller in callers:
            with suppress(ConnectionResetError):
                while caller.recv(4096):
                    pass
        with calling(node) as association:
            assert association.send_c_echo().Status == SUCCESS


def test_an_instance_without_end_is_cut_off(tmp_path: Path) -> None:
    with running(tmp_path / "out", max_bytes=100_000) as node:
        large = dicom_dataset(np.zeros((1, 400, 400), np.uint16))
        with calling(node) as association:
            answer = association.send_c_store(large)
            assert "Status" not in answer
        with calling(node) as association:
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS
        assert len(node.pictures()) == 1
        assert any("more than 100000 bytes" in line for line in node.said)


def test_bytes_that_are_no_dicom_disturb_nobody(tmp_path: Path) -> None:
    with running(tmp_path / "out") as node:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff" + bytes(50), b""):
            with socket.create_connection(("127.0.0.1", node.port), timeout=60) as rude:
                rude.sendall(data)
        with calling(node) as association:
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS


def test_what_was_coded_is_decoded_again_before_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FrameCoder, coded: Any) -> Any:
        return np.zeros((40, 30, 1), np.uint16)

    with running(tmp_path / "out") as node:
        monkeypatch.setattr(FrameCoder, "decode", broken)
        with calling(node) as association:
            assert association.send_c_store(dicom_dataset(SAMPLES)).Status == SUCCESS
        monkeypatch.undo()
        reader = ExactReader(io.BytesIO(next(node.folder.iterdir()).read_bytes()))
        assert FrameKind.TILES not in {frame.kind for frame in reader}
        np.testing.assert_array_equal(node.pictures()[0][0], SAMPLES)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_the_command_takes_what_storescu_of_dcmtk_sends(
    tmp_path: Path, is_secure: bool
) -> None:
    if not shutil.which(STORESCU):
        pytest.skip("dcmtk is not installed (.ci/interop)")
    source = write_dataset(tmp_path / "in.dcm", dicom_dataset(SAMPLES))
    ours: list[str] = []
    theirs: list[str] = []
    if is_secure:
        known = Certificates(tmp_path)
        files = zip(("cert", "key", "ca"), (*known.server, known.ca), strict=True)
        ours = [word for name, path in files for word in (f"--tls-{name}", str(path))]
        theirs = ["+tls", *map(str, reversed(known.client)), "+cf", str(known.ca)]
    process = await command.start(
        "receive", "--dicom-port", "0", "--output", str(tmp_path / "out"), "--allow", "DCMTK",
        "--json", *ours,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 120)).decode()
        assert line.startswith("receiving as RTCODEC at 127.0.0.1:")
        assert line.endswith(" over TLS\n") == is_secure
        port = line.removesuffix(" over TLS\n").strip().rpartition(":")[2]
        words = [STORESCU, "-aet", "DCMTK", "-aec", "RTCODEC", *theirs]
        words += ["127.0.0.1", port, str(source)]
        sent = await asyncio.to_thread(
            subprocess.run, words, capture_output=True, text=True, check=False, timeout=120
        )
        assert sent.returncode == 0, sent.stderr
        words[2] = "STRANGER"
        sent = await asyncio.to_thread(
            subprocess.run, words, capture_output=True, text=True, check=False, timeout=120
        )
        assert sent.returncode != 0
    finally:
        process.send_signal(signal.SIGTERM)
        done = await command.outcome(process)
    assert done.code == 0, done.err
    assert done.document == {"stored": 1, "refused": 0}
    assert SECRET not in done.out + done.err + line
    (path,) = (tmp_path / "out").iterdir()
    header, frames, _ = decode_frames(io.BytesIO(path.read_bytes()))
    np.testing.assert_array_equal(np.stack(frames)[..., 0], SAMPLES)
    assert SECRET not in str(read_notes(header))


async def test_beyond_loopback_it_wants_to_know_who_may_send(tmp_path: Path) -> None:
    process = await command.start("receive", "--host", "0.0.0.0", "--output", str(tmp_path / "o"))
    done = await command.outcome(process)
    assert done.code == 2
    assert "--allow TITLE" in done.err
    assert not (tmp_path / "o").exists()


def test_files_of_tls_are_asked_for_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Certificates(tmp_path)
    words = ["receive", "--dicom-port", "0", "--output", str(tmp_path / "out")]
    for more, reason in (
        (["--tls-ca", str(known.ca)], "--tls-cert and --tls-key"),
        (["--tls-cert", str(known.server[0])], "--tls-cert and --tls-key"),
        (["--tls-cert", str(known.server[0]), "--tls-key", str(known.client[1])], "MISMATCH"),
    ):
        assert cli.main([*words, *more]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
