"""What a relay gives to tabs that decode: a list, a model, a module, or a reason."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rtcodec.bundle import find_bundle
from rtcodec.models.web import web_model
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec_server.page import Pages
from rtcodec_server.problem import REFUSED, answer_problems
from rtcodec_server.tab_decoder import TabDecoder

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def serve(
    model: str | None, wasm: Path | None, *, stills: bool = False
) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[answer_problems])
    app[REFUSED] = {}
    TabDecoder(model, wasm, stills=stills).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        yield client


CODE, OTHER_CODE = b"\0asm, as far as this is looked at", b"\0asm of another version"


@pytest.fixture
def wasm(tmp_path: Path) -> Path:
    return module(tmp_path / "rtcodec.wasm", CODE)


@pytest.fixture
def other_wasm(tmp_path: Path) -> Path:
    return module(tmp_path / "other.wasm", OTHER_CODE)


def module(path: Path, code: bytes) -> Path:
    path.write_bytes(code)
    return path


async def test_files_are_listed_and_never_change_under_their_names(
    wasm: Path, other_wasm: Path
) -> None:
    async with serve("n64", wasm) as client:
        async with client.get("/web/decoder.json") as response:
            assert response.headers["Cache-Control"] == "no-cache"
            listing = await response.json()
        bundle = find_bundle("n64")
        assert listing["model"]["id"] == bundle.model_id.hex()
        head = load_restorer_model(PERCEPTUAL).tensors
        wanted = {"model": web_model(bundle, head=head), "wasm": CODE}
        kinds = {"model": "application/octet-stream", "wasm": "application/wasm"}
        for name, content in wanted.items():
            assert listing[name]["bytes"] == len(content)
            async with client.get(listing[name]["url"]) as response:
                assert response.status == 200
                assert response.content_type == kinds[name]
                assert "immutable" in response.headers["Cache-Control"]
                assert await response.read() == content
        first = listing["wasm"]["url"]
    async with serve("n64", other_wasm) as client:
        async with client.get("/web/decoder.json") as response:
            assert (await response.json())["wasm"]["url"] != first
        async with client.get(first) as response:
            assert response.status == 404


async def test_previews_of_studies_have_a_list_of_their_own(wasm: Path) -> None:
    async with serve("n64", wasm, stills=True) as client:
        async with client.get("/web/decoder.json") as response:
            assert response.status == 404
        async with client.get("/web/study_decoder.json") as response:
            listing = await response.json()
        assert listing["model"]["name"] == "n64"
        async with client.get(listing["model"]["url"]) as response:
            assert await response.read() == web_model(find_bundle("n64"), stills=True)


@pytest.mark.parametrize(
    ("model", "has_wasm", "words"),
    [
        (None, True, "stand-in for tests"),
        ("n64", False, "without the decoder"),
        ("no_such_model", True, "model no_such_model is not for pages"),
    ],
)
async def test_a_relay_without_says_why_in_words(
    model: str | None, has_wasm: bool, words: str, wasm: Path
) -> None:
    async with serve(model, wasm if has_wasm else None) as client:
        async with client.get("/web/decoder.json") as response:
            assert response.status == 200
            listing = await response.json()
        assert words in listing["missing"]
        assert listing.keys() == {"missing"}


async def test_the_list_is_not_taken_for_a_file_of_the_pages() -> None:
    app = web.Application(middlewares=[answer_problems])
    app[REFUSED] = {}
    Pages(None).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/web/decoder.json") as response:
            assert response.content_type == "application/json"
        for path in ("/web/decoder/nothing.wasm", "/web/decoder/..%2fpage.py", "/web/rtcodec.wasm"):
            async with client.get(path) as response:
                assert response.status == 404
        async with client.get("/web/worker.js") as response:
            policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self' 'wasm-unsafe-eval';" in policy
        async with client.get("/watch/room") as response:
            assert "wasm-unsafe-eval" not in response.headers["Content-Security-Policy"]
