"""`rtcodec serve` as operators run it: signals, draining, tokens, https, JSON logs."""

import asyncio
import json
import os
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest

from rtcodec.errors import ConfigError
from rtcodec_client.child import Child
from rtcodec_server.tls import Tls
from support.certificate import write_certificate
from support.command import outcome, relay_process, run, said, start
from support.relay import KEYS, MovingTrack, RelayClient, until

KEY = f"main:{KEYS['main']}"


async def test_sigterm_lets_those_inside_finish_and_then_ends() -> None:
    async with relay_process("--drain-s", "60", "--warm", "160x96") as (process, url):
        async with RelayClient(url) as client:
            watch = await client.watch("room")
            path = await client.publish("room", MovingTrack(160, 96))
            await until(lambda: watch.frames)
            process.send_signal(signal.SIGTERM)
            await not_ready(client)
            n_frames = len(watch.frames)
            await until(lambda: len(watch.frames) > n_frames + 5)
            for end in (path, watch.path):
                async with client.http.delete(end) as response:
                    assert response.status == 200
        ended = await outcome(process, timeout_s=40)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_now(second: signal.Signals) -> None:
    async with relay_process("--drain-s", "600") as (process, url), RelayClient(url) as client:
        await client.watch("room")
        process.send_signal(signal.SIGTERM)
        await not_ready(client)
        process.send_signal(second)
        ended = await outcome(process, timeout_s=40)
    assert (ended.code, ended.err) == (0, "")


async def test_draining_over_http_ends_the_process_with_its_last_session() -> None:
    async with relay_process("--drain-s", "600") as (process, url):
        async with RelayClient(url) as client:
            watch = await client.watch("room")
            async with client.http.post("/api/drain") as response:
                assert response.status == 202
            process.send_signal(signal.SIGTERM)  # as an orchestrator does then: still the first
            await not_ready(client)
            assert process.returncode is None
            async with client.http.delete(watch.path) as response:
                assert response.status == 200
        ended = await outcome(process, timeout_s=40)
    assert ended.code == 0


async def not_ready(client: RelayClient) -> None:
    async with asyncio.timeout(60):
        while True:
            async with client.http.get("/readyz") as response:
                if response.status == 503:
                    return


async def test_tokens_of_the_command_let_our_clients_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", KEY)
    monkeypatch.delenv("RTCODEC_TOKEN", raising=False)
    publish = await run("token", "--room", "call", "--publish", "--expires", "5m")
    subscribe = await run("token", "--room", "c*", "--subscribe", "--json")
    assert (publish.code, publish.err, subscribe.code, subscribe.err) == (0, "", 0, "")
    token = subscribe.document["token"]
    async with relay_process("--log-level", "info", "--log-format", "json") as (process, url):
        publisher = await start(
            "publish", f"{url}/whip/call", "pattern:160x96@30", "--token", publish.out.strip()
        )
        monkeypatch.setenv("RTCODEC_TOKEN", token)
        watched = await run("watch", f"{url}/whep/call", "--engine", "null", "--seconds", "1",
                            "--json")  # fmt: skip
        refused = await run("publish", f"{url}/whip/call", "pattern:160x96@30")
        publisher.send_signal(signal.SIGTERM)
        await outcome(publisher)
        monkeypatch.delenv("RTCODEC_TOKEN")
        stranger = await run("watch", f"{url}/whep/call", "--engine", "null", "--seconds", "1")
        process.send_signal(signal.SIGTERM)
        log = (await outcome(process)).err
    assert watched.code == 0, watched.err
    assert watched.document["frames"]["decoded"] > 3
    assert refused.code == 1
    assert "403: the token does not allow to publish to room call" in refused.last_line
    assert stranger.code == 1
    assert "401: a bearer token is needed" in stranger.last_line
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    events = [entry["event"] for entry in entries]
    for event in ("session_opened", "publisher_joined", "session_closed", "request_refused"):
        assert event in events
    assert all(isinstance(entry["time"], str) for entry in entries)
    opened = [entry for entry in entries if entry["event"] == "session_opened"]
    assert {entry["room"] for entry in opened} == {"call"}
    assert sorted(entry["role"] for entry in opened) == ["publisher", "subscriber"]
    everything = log + watched.err + refused.err + stranger.err
    for secret in (token, publish.out.strip(), KEYS["main"]):
        assert secret not in everything


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_serves_https_and_takes_a_new_certificate_on_sighup(
    tmp_path: Path, workers: str
) -> None:
    cert, key = write_certificate(tmp_path, "first")
    process = await start(
        "serve", "--port", "0", "--engine", "null", "--tls-cert", str(cert), "--tls-key", str(key),
        "--log-level", "info", "--workers", workers,
    )  # fmt: skip
    try:
        url = (await said(process, r"https://\S+?:\d+")).group()
        await answers(url, cert)
        write_certificate(tmp_path, "second")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await answers(url, cert)  # trusts the new one, is shown the old
        process.send_signal(signal.SIGHUP)
        await said(process, "certificate_reloaded")
        await answers(url, cert)
        key.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        await said(process, "certificate_kept")
        await answers(url, cert)
    finally:
        process.send_signal(signal.SIGTERM)
        ended = await outcome(process)
    assert ended.code == 0


async def answers(url: str, cert: Path) -> None:
    """Ask for /healthz over a connection that trusts *cert* only."""
    trust = ssl.create_default_context(cafile=str(cert))
    async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz", ssl=trust) as response:
        assert response.status == 200


def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "a")
    other = tmp_path / "other"
    other.mkdir()
    _, wrong = write_certificate(other, "b")
    Tls(cert, key)
    with pytest.raises(ConfigError, match="none: no such file"):
        Tls(cert, tmp_path / "none")
    with pytest.raises(ConfigError, match="MISMATCH"):
        Tls(cert, wrong)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        Tls(tmp_path / "empty.pem", key)
    cert, locked = write_certificate(other, "c", passphrase=b"secret")
    with pytest.raises(ConfigError, match="has a passphrase"):
        Tls(cert, locked)


async def test_an_open_relay_has_to_be_asked_for() -> None:
    assert "RTCODEC_KEYS" not in os.environ
    refused = await run("serve", "--host", "0.0.0.0", "--port", "0", "--engine", "null")
    assert refused.code == 2
    assert refused.last_line.startswith("rtcodec: listening on 0.0.0.0 without keys")
    async with relay_process("--host", "0.0.0.0", "--open") as (_, url):
        assert url.startswith("http://0.0.0.0:")


async def test_the_demos_relay_has_nobodys_keys_and_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", "wrong")
    monkeypatch.setenv("RTCODEC_QP", "99")
    child = await Child.start(
        "relay", ["serve", "--port", "0", "--engine", "null"], tmp_path / "log"
    )
    try:
        await until(lambda: "rtcodec relay at" in child.said(), timeout_s=60)
    finally:
        await child.stop()
