"""
What a tab needs to decode the neural stream, beside the scripts: the model, and the code in wasm.

    GET /web/{name}.json            which files those are, or why there are none
    GET /web/{name}/{file}          named by their content: they never change

`decoder` is for streams, `study_decoder` for previews of studies, whose model may be another, and
holds what stills need.

Made once, when somebody first asks. Nothing here asks for a token: a model is no secret of the
relay's, and what it decodes is asked for with one.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rtcodec.bundle import find_bundle
from rtcodec.errors import ConfigError
from rtcodec.models.web import web_model, web_model_name
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec_server.problem import Problem

_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """The files, or why there are none."""

    listing: Mapping[str, Any]
    "As `decoder.json` has it: `model` and `wasm` with their `url`, or `missing` in words."

    files: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    "Name to content and its type."


def make_assets(model: str | None, wasm: Path | None, *, stills: bool = False) -> Assets:
    """
    Read and write what there is; takes a moment.

    Args:
        model: Name of an installed model, or None for the stand-in of tests.
        wasm: The compiled decoder, if it was compiled.
        stills: Whether for previews of studies.
    """
    if model is None:
        return Assets({"missing": "the relay's model is a stand-in for tests"})
    if wasm is None:
        return Assets({"missing": "the relay was installed without the decoder for pages"})
    try:
        bundle = find_bundle(model)
        head = None if stills else load_restorer_model(PERCEPTUAL).tensors
        weights = web_model(bundle, stills=stills, head=head)
    except ConfigError as error:
        return Assets({"missing": f"model {model} is not for pages: {error}"})
    code = wasm.read_bytes()
    folder = _folder(stills=stills)
    names = (
        web_model_name(bundle, weights),
        f"decoder.{hashlib.sha256(code).hexdigest()[:16]}.wasm",
    )
    return Assets(
        {
            "model": {
                "name": bundle.name,
                "id": bundle.model_id.hex(),
                "url": f"/web/{folder}/{names[0]}",
                "bytes": len(weights),
            },
            "wasm": {"url": f"/web/{folder}/{names[1]}", "bytes": len(code)},
        },
        {
            names[0]: (weights, "application/octet-stream"),
            names[1]: (code, "application/wasm"),
        },
    )


class TabDecoder:
    """Handlers of what a tab decodes with."""

    def __init__(self, model: str | None, wasm: Path | None, *, stills: bool = False) -> None:
        """As `make_assets`."""
        self._model = model
        self._wasm = wasm
        self._stills = stills
        self._making: asyncio.Future[Assets] | None = None

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        folder = _folder(stills=self._stills)
        router.add_get(f"/web/{folder}.json", self._listing)
        router.add_get(f"/web/{folder}/{{file}}", self._file)

    async def _assets(self) -> Assets:
        if self._making is None:
            self._making = asyncio.ensure_future(
                asyncio.to_thread(make_assets, self._model, self._wasm, stills=self._stills)
            )
        return await asyncio.shield(self._making)

    async def _listing(self, request: web.Request) -> web.Response:
        listing = (await self._assets()).listing
        return web.json_response(
            listing, headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        )

    async def _file(self, request: web.Request) -> web.Response:
        found = (await self._assets()).files.get(request.match_info["file"])
        if found is None:
            raise Problem(404, "not found")
        body, content_type = found
        headers = {
            "Cache-Control": _FOR_EVER,
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=body, content_type=content_type, headers=headers)


def _folder(*, stills: bool) -> str:
    return "study_decoder" if stills else "decoder"
