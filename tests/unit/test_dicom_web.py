"""DICOMweb against a server that answers as it likes: bounded, one clear line, no address told."""

import io
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec import cli
from rtcodec.dicom import web
from rtcodec.dicom.multipart import HEADERS_MAX_BYTES, read_boundary, read_parts
from rtcodec.dicom.web import WebClient, WebInstance, read_web_address
from rtcodec.errors import ConfigError, InputError
from rtcodec.tls import client_context
from support.certificate import CertificateFiles, Certificates, write_certificate

ONE = WebInstance("1.2", "1.3", "1.4")
RELATED = 'multipart/related; type="application/dicom"; boundary=xyz'
SECRET = "XQZSECRET"


# ---- multipart


def written(parts: list[bytes], boundary: str = "xyz", *, before: bytes = b"") -> bytes:
    mark = b"--" + boundary.encode()
    body = b"".join(
        mark + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    return before + body + mark + b"--\r\n"


def reading(data: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Return a `read` that gives out *data* in pieces of *sizes*, over and over."""
    stream, turns = io.BytesIO(data), itertools.cycle(sizes)
    return lambda size: stream.read(min(size, next(turns)))


@given(
    st.lists(st.binary(max_size=300).filter(lambda part: b"\r\n--xyz" not in part), max_size=4),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.binary(max_size=30).filter(lambda before: b"--xyz" not in before),
)
def test_parts_come_back_however_they_arrive(
    parts: list[bytes], sizes: list[int], before: bytes
) -> None:
    data = written(parts, before=before + b"\r\n")
    assert list(read_parts(reading(data, sizes), "xyz", part_max_bytes=300)) == parts


@given(st.binary(max_size=400), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_bytes_are_parts_or_refused(data: bytes, sizes: list[int]) -> None:
    try:
        list(read_parts(reading(b"--xyz" + data, sizes), "xyz", part_max_bytes=100))
    except InputError:
        return


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (written([b"whole"])[:-4], "ends early"),
        (written([b"whole"])[:30], "ends early"),
        (written([bytes(101)]), "larger than 100"),
        (b"x" * (HEADERS_MAX_BYTES + 100), "preamble"),
        (b"--xyz\r\n" + b"A: b\r\n" * 4000, "too many headers"),
        (b"--xyz\r\n" + b"A" * 20_000, "line of an answer is larger"),
        (b"--xyzzy\r\n\r\n", "followed by something else"),
    ],
)
def test_an_answer_that_is_none_is_refused_within_bounds(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_parts(reading(data, [50]), "xyz", part_max_bytes=100))


def test_boundaries_are_found_quoted_or_not() -> None:
    assert read_boundary("multipart/related; boundary=a-b") == "a-b"
    assert read_boundary('Multipart/Related; type="x"; Boundary="a b;c"; start=1') == "a b;c"
    for text in (
        "text/html; boundary=a",
        "multipart/related",
        "multipart/related; boundary=\u00e9",
    ):
        with pytest.raises(InputError):
            read_boundary(text)


# ---- addresses


def test_addresses_name_a_study_a_series_an_instance_or_a_search() -> None:
    place = read_web_address("https://pacs.example:8443/a/b/studies/1.2/series/1.3/instances/1.4")
    assert (place.secure, place.host, place.port, place.base) == (
        True, "pacs.example", 8443, "/a/b",
    )  # fmt: skip
    assert (place.study, place.series, place.instance) == ("1.2", "1.3", "1.4")
    assert read_web_address("http://h/studies?Modality=CT").query == "Modality=CT"


@pytest.mark.parametrize(
    "text",
    [
        "https://host/dicom-web",
        "https://host/studies",
        "https://host/studies/1.2?x=1",
        "https://host/studies/../../admin",
        "https://host/studies/1.2/instances/1.4",
        "https://user:word@host/studies/1.2",
        "https://host:notaport/studies/1.2",
        "ftp://host/studies/1.2",
        "https://host/studies?x=a b",
    ],
)
def test_other_addresses_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_web_address(text)
    assert "host" not in str(refused.value)


def test_a_token_does_not_go_over_a_network_in_the_clear() -> None:
    place = read_web_address("http://192.0.2.1/studies/1.2")
    with pytest.raises(ConfigError, match="https only"):
        WebClient(place, token="t")
    for text in ("http://127.0.0.1/studies/1.2", "http://localhost/studies/1.2"):
        WebClient(read_web_address(text), token="t")


# ---- a server that answers as it likes


class Server:
    """Answers each request by what `answer` makes of its path."""

    def __init__(
        self, tls: CertificateFiles | None = None, *, clients_ca: Path | None = None
    ) -> None:
        self.answer: Callable[[str], tuple[int, str, bytes]] = lambda _: (404, "text/plain", b"")
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.closes = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.paths.append(self.path)
                outer.tokens.append(self.headers.get("Authorization"))
                status, kind, body = outer.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = outer.closes

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            if clients_ca is not None:
                context.load_verify_locations(clients_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        yield one


@contextmanager
def client_of(server: Server, place: str = "/studies/1.2") -> Iterator[WebClient]:
    with WebClient(read_web_address(f"http://127.0.0.1:{server.port}{place}")) as client:
        yield client


def found(count: int, *, start: int = 0) -> bytes:
    rows = [
        {
            "0020000D": {"Value": ["1.2"]},
            "0020000E": {"Value": ["1.3"]},
            "00080018": {"Value": [f"1.4.{start + k}"]},
            "00200013": {"Value": [1000 - start - k]},
        }
        for k in range(count)
    ]
    return json.dumps(rows).encode()


JSON = "application/dicom+json"


def test_instances_come_page_by_page_in_their_order(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PAGE", 3)
    pages = {0: found(3), 3: found(2, start=3)}
    server.answer = lambda path: (200, JSON, pages[int(path.rsplit("=")[-1])])
    with client_of(server) as client:
        instances = client.instances()
    assert [one.instance for one in instances] == [f"1.4.{k}" for k in (4, 3, 2, 1, 0)]
    assert server.paths[0] == "/studies/1.2/instances?limit=3&offset=0"


def test_a_server_that_knows_no_pages_is_not_asked_for_ever(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PAGE", 3)
    server.answer = lambda _: (200, JSON, found(3))
    with client_of(server) as client:
        assert len(client.instances()) == 3


def test_a_server_that_goes_on_for_ever_is_left(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PAGE", 10)
    monkeypatch.setattr(web, "RESULTS_MAX", 40)
    server.answer = lambda path: (200, JSON, found(10, start=int(path.rsplit("=")[-1])))
    with client_of(server) as client, pytest.raises(InputError, match="more than 40"):
        client.instances()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"{}", "no list in JSON"),
        (200, b"[" * 100_000, "no list in JSON"),
        (200, b"[1]", "no list in JSON"),
        (200, b'[{"0020000E": {"Value": ["1.3"]}}]', "lacks an identifier"),
        (200, b'[{"0020000E": {"Value": ["../../x"]}}]', "lacks an identifier"),
        (200, b" " * 250_000, "larger than 200000"),
        (302, b"", r"elsewhere \(302\)"),
        (401, b"", r"a token is needed, or another one \(401\)"),
        (404, b"", r"no such study.* \(404\)"),
        (500, SECRET.encode(), r"\(500\)"),
    ],
)
def test_bad_answers_to_a_search_are_one_clear_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, message: str
) -> None:
    monkeypatch.setattr(web, "SEARCH_MAX_BYTES", 200_000)
    server.answer = lambda _: (status, JSON, body)
    place = f"/studies?PatientName={SECRET}"
    if status == 200:
        place = "/studies/1.2"
    with client_of(server, place) as client, pytest.raises(InputError, match=message) as refused:
        client.instances()
    assert SECRET not in str(refused.value)
    assert str(refused.value).startswith("127.0.0.1: ")
    assert len(server.paths) == 1


def test_nothing_found_is_nothing(server: Server) -> None:
    server.answer = lambda _: (204, JSON, b"")
    with client_of(server) as client:
        assert client.instances() == []


@pytest.mark.parametrize("closes", [False, True])
def test_instances_are_retrieved_one_after_the_other(server: Server, closes: bool) -> None:
    """Also from a server that closes the connection after each answer, without a word."""
    server.closes = closes
    server.answer = lambda _: (200, RELATED, written([b"a DICOM file"]))
    with client_of(server) as client:
        assert [client.retrieve(ONE) for _ in range(3)] == [b"a DICOM file"] * 3
        server.answer = lambda _: (200, "application/dicom", b"just one")
        assert client.retrieve(ONE) == b"just one"
    assert set(server.paths) == {"/studies/1.2/series/1.3/instances/1.4"}


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (RELATED, written([]), "not one part"),
        (RELATED, written([b"a", b"b"]), "not one part"),
        (RELATED, written([bytes(101)]), "larger than 100"),
        (RELATED, written([b"a"])[:-4], "ends early"),
        ("application/dicom", bytes(101), "larger than 100"),
        ("text/html", b"<p>", "not multipart/related"),
    ],
)
def test_bad_answers_to_a_retrieval_are_one_clear_line(
    server: Server, kind: str, body: bytes, message: str
) -> None:
    server.answer = lambda _: (200, kind, body)
    with client_of(server) as client:
        with pytest.raises(InputError, match=message):
            client.retrieve(ONE, max_bytes=100)
        server.answer = lambda _: (200, RELATED, written([b"good"]))
        assert client.retrieve(ONE, max_bytes=100) == b"good"  # the next is not mixed up with it


def test_a_server_that_is_not_there_is_one_clear_line(server: Server) -> None:
    with Server() as gone:
        place = f"http://127.0.0.1:{gone.port}/studies/1.2"
    with WebClient(read_web_address(place)) as client, pytest.raises(InputError) as refused:
        client.instances()
    assert str(refused.value) == "127.0.0.1: Connection refused"


def test_the_token_goes_along_and_tls_is_checked(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "tests")
    with Server((certificate, key)) as server:
        server.answer = lambda _: (200, JSON, found(1))
        place = read_web_address(f"https://127.0.0.1:{server.port}/studies/1.2")
        with (
            WebClient(place, token="abc") as client,
            pytest.raises(InputError, match="self-signed"),
        ):
            client.instances()
        assert server.paths == []
        trusted = ssl.create_default_context(cafile=str(certificate))
        for token in ("abc", "Basic dTpw"):
            with WebClient(place, token=token, tls=trusted) as client:
                assert len(client.instances()) == 1
    assert server.tokens == ["Bearer abc", "Basic dTpw"]


def test_a_server_of_an_authority_of_its_own_wants_a_certificate_from_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Certificates(tmp_path)
    with Server(known.server, clients_ca=known.ca) as server:
        server.answer = lambda _: (200, JSON, b"[]")
        address = f"https://127.0.0.1:{server.port}/studies/1.2"
        place = read_web_address(address)
        for context in (
            client_context(),
            client_context(known.other_ca, *known.client),
            client_context(known.ca),
            client_context(known.ca, *known.stranger),
        ):
            with WebClient(place, tls=context) as client, pytest.raises(InputError):
                client.instances()
        assert server.paths == []
        with WebClient(place, tls=client_context(known.ca, *known.client)) as client:
            assert client.instances() == []
        words = ["encode", "--lossless", address, str(tmp_path / "out")]
        own = ["--tls-cert", str(known.client[0]), "--tls-key", str(known.client[1])]
        assert cli.main([*words, *own, "--tls-ca", str(known.ca)]) == 1
        assert "no pictures found" in capsys.readouterr().err
        assert cli.main([*words, *own]) == 1
        assert "certificate" in capsys.readouterr().err


def test_files_of_tls_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    known = Certificates(tmp_path)
    with pytest.raises(ConfigError, match="both or none"):
        client_context(None, known.client[0], None)
    with pytest.raises(ConfigError, match="MISMATCH"):
        client_context(None, known.client[0], known.server[1])
    with pytest.raises(ConfigError, match="No such file"):
        client_context(tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        client_context(tmp_path / "empty.pem")
