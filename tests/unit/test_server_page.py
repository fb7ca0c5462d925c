"""
The relay's pages: headers, names, and that their files fit together.

What they do in a browser: tests/integration/test_pages_chromium.py.
"""

import gzip
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rtcodec.entropy.build import EXACT_WASM, PROGRESSIVE_WASM, WASM
from rtcodec.web_decoder import web_decoder_files
from rtcodec_server.config import ServerConfig
from rtcodec_server.cors import Cors
from rtcodec_server.page import Pages, page_files
from rtcodec_server.problem import REFUSED, answer_problems

SERVED = (".css", ".html", ".js", ".svg")
WEB = {p.name: p.read_text("utf-8") for p in page_files() if p.name.endswith(SERVED)}
HTML = sorted(name for name in WEB if name.endswith(".html"))
SCRIPTS = sorted(name for name in WEB if name.endswith(".js"))


def test_no_two_files_have_one_address() -> None:
    assert len(WEB) == sum(path.name.endswith(SERVED) for path in page_files())


Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[answer_problems])
    app[REFUSED] = {}
    Pages(None).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    ["/", "/publish/room", "/watch/a.B-c_9", "/view", "/view/ward7", "/photo", "/web/style.css"],
)
async def test_whatever_is_served_may_load_nothing_from_elsewhere(
    client: Client, path: str
) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        headers = response.headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for sources in policy.values():
        assert sources in ("'self'", "'none'", "blob:", "'script'", "rtcodec-worker"), sources
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/web/page.js", "text/javascript"),
        ("/web/style.css", "text/css"),
        ("/web/icon.svg", "image/svg+xml"),
    ],
)
async def test_a_page_that_the_browser_has_is_not_sent_again(
    client: Client, path: str, kind: str
) -> None:
    async with client.get(path) as response:
        assert response.content_type == kind
        etag = response.headers["ETag"]
    async with client.get(path, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    async with client.get(path, headers={"If-None-Match": '"another"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, br", "gzip"), ("identity", None), ("gzip; q=0", None), ("", None)],
)
async def test_a_page_is_packed_for_whoever_unpacks_it(accepted: str, encoding: str | None) -> None:
    app = web.Application()
    Pages(None).add_routes(app.router)
    headers = {"Accept-Encoding": accepted}
    async with (
        TestClient(TestServer(app), auto_decompress=False) as client,
        client.get("/web/page.js", headers=headers) as response,
    ):
        assert response.headers.get("Content-Encoding") == encoding
        assert response.headers["Vary"] == "Accept-Encoding"
        body = await response.read()
    assert (gzip.decompress(body) if encoding else body).decode() == WEB["page.js"]


async def test_what_is_packed_and_for_some_origins_varies_with_both() -> None:
    app = web.Application(middlewares=[Cors(ServerConfig()).middleware])
    Pages(None).add_routes(app.router)
    async with TestClient(TestServer(app)) as client, client.get("/web/page.js") as response:
        assert set(response.headers.getall("Vary")) == {"Origin", "Accept-Encoding"}


@pytest.mark.parametrize(
    "path",
    [
        "/publish",
        "/publish/",
        "/watch/room/session",
        "/view/",
        "/web/",
        "/web/nothing.js",
        "/web/watch.html",  # a page has one address
        "/web/__init__.py",
        "/web/..%2fpage.py",
        "/web/%2e%2e%2fpage.py",
        "/web/.",
    ],
)
async def test_what_is_no_page_is_404(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404


@pytest.mark.parametrize("name", ["-room", "a b", "x" * 65, "%3Cscript%3E", "r%2Fr", "caf%C3%A9"])
@pytest.mark.parametrize("page", ["publish", "watch", "view"])
async def test_what_can_be_no_room_has_no_page(client: Client, page: str, name: str) -> None:
    async with client.get(f"/{page}/{name}") as response:
        assert response.status in (400, 404)
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("name", HTML)
def test_pages_hold_no_script_no_style_and_no_address_elsewhere(name: str) -> None:
    text = WEB[name]
    for tag in re.findall(r"<script[^>]*>[^<]*", text):
        assert re.fullmatch(r'<script type="module" src="/web/\w+\.js">', tag)
    assert "<style" not in text
    assert not re.search(r"\s(style|on\w+)=", text)
    assert not re.search(r"(https?:)?//\w", text)
    for path in re.findall(r'(?:src|href)="/web/([^"]+)"', text):
        assert path in WEB


@pytest.mark.parametrize("name", HTML)
def test_what_is_labelled_is_there_once(name: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', WEB[name])
    assert len(ids) == len(set(ids))
    named = re.findall(r'\s(?:for|aria-labelledby)="([^"]+)"', WEB[name])
    assert set(named) <= set(ids)
    for landmark in ("<header", "<main", '<html lang="en">', "<h1"):
        assert WEB[name].count(landmark) == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_what_is_there_and_make_no_markup(name: str) -> None:
    text = re.sub(r"^ *(/\*)?\*.*$", "", WEB[name], flags=re.MULTILINE)  # types are in comments
    imports = re.findall(r'^import \{([^}]+)\} from "\./([^"]+)";$', text, re.MULTILINE)
    assert len(imports) == len(re.findall(r"\bimport\b(?!\.meta)", text))
    for names, module in imports:
        for wanted in filter(None, (word.strip() for word in names.split(","))):
            assert re.search(rf"^export .* {re.escape(wanted)}(?!\w)", WEB[module], re.MULTILINE)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def loaded_with(page: str) -> set[str]:
    """Return the names of all files that a page loads, its worker's included."""
    found: set[str] = set()
    to_read = [page]
    while to_read:
        name = to_read.pop()
        if name in found:
            continue
        found.add(name)
        text = WEB[name]
        to_read += re.findall(r'(?:src|href)="/web/([^"]+)"', text)
        to_read += re.findall(r'(?:from |new URL\()"\./([^"]+)"', text)
        to_read += re.findall(r'WORKER = "/web/([^"]+)"', text)
    return found


@pytest.mark.parametrize("page", HTML)
def test_a_pages_scripts_ask_for_elements_that_are_there(page: str) -> None:
    scripts = [name for name in loaded_with(page) if name.endswith(".js")]
    wanted = {one for name in scripts for one in re.findall(r'\$\("([^"]+)"\)', WEB[name])}
    assert wanted
    assert wanted <= set(re.findall(r'\sid="([^"]+)"', WEB[page]))


@pytest.mark.skipif(not web_decoder_files(), reason="no wasm: clang and lld (.ci/interop)")
@pytest.mark.parametrize("page", HTML)
def test_a_page_with_all_that_it_loads_but_the_model_is_small(page: str) -> None:
    names = loaded_with(page)
    n_bytes = sum(len(gzip.compress(WEB[name].encode())) for name in names)
    for script, module in (
        ("decoder.js", WASM),
        ("exact.js", EXACT_WASM),
        ("progressive.js", PROGRESSIVE_WASM),
    ):
        if script in names:
            n_bytes += len(gzip.compress(web_decoder_files()[module.name].read_bytes()))
    assert ("exact_worker.js" in names) == (page == "view.html")
    assert ("progressive_worker.js" in names) == (page == "photo.html")
    assert "page.js" in names
    assert ("decoder.js" in names) == (page in ("watch.html", "view.html"))
    assert n_bytes < 150_000
