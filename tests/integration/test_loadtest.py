"""`rtcodec loadtest` for real: processes, sockets, a relay, a bad network, and its verdict."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.command import outcome, relay_process, run, start

SMALL = ("--size", "160x96", "--fps", "15", "--ramp", "0.5", "--duration", "2", "--processes", "1")
LENIENT_SERVE = ("--serve", "--engine", "null", *SMALL, "--no-generator-check")


async def test_a_run_measures_from_camera_to_picture_and_leaves_its_files(tmp_path: Path) -> None:
    async with relay_process() as (process, url):
        done = await run(
            "loadtest", url, *SMALL, "--publishers", "2", "--subscribers", "2", "--decode", "1",
            "--churn", "2", "--churn-of", "both", "--out", str(tmp_path), "--json",
            "--no-generator-check", "--require", "joins.failed==0", "--require",
            "frames.decoded>=1", "--require", "relay.sessions_left==0",
        )  # fmt: skip
        assert process.returncode is None
    assert done.code == 0, done.err
    report = done.document
    assert report == json.loads((tmp_path / "report.json").read_text())
    check_contract(report)
    frames = report["frames"]
    assert frames["received"] == frames["encoded"] + frames["dropped"]
    assert frames["sent"] == frames["units"] + frames["lost"] + frames["unfinished"]
    assert frames["unstamped"] == 0
    total, arrive = report["latency_ms"]["total"], report["latency_ms"]["arrive"]
    assert 0 < arrive["p50"] < total["max"]
    assert report["psnr_source_db"]["yuv"] > 20
    assert report["joins"]["ok"] == 6
    assert report["churn"]["cycles"] >= 1
    assert report["relay"]["process"] == "here"
    assert set(os.listdir(tmp_path)) == {"report.json", "timeline.csv", "peers.csv", "load.png"}
    assert len((tmp_path / "peers.csv").read_text().splitlines()) == 7


def check_contract(report: dict[str, Any]) -> None:
    for count in ("received", "encoded", "dropped", "sent", "decoded", "lost"):
        assert isinstance(report["frames"][count], int)
    for stage in report["latency_ms"].values():
        assert {"p50", "p95", "p99"} <= set(stage)
    assert set(report["psnr_db"]) == {"y", "u", "v", "yuv"}
    assert report["fps"] > 0
    assert report["kbps"] > 0
    assert report["model"] == report["engine"] == "null"
    assert report["hardware"]["cores"] >= 1
    assert "rtcodec" in report["versions"]


async def test_a_bad_network_is_on_the_media_path_and_a_requirement_that_fails_says_so() -> None:
    done = await run(
        "loadtest", *LENIENT_SERVE, "--subscribers", "2", "--decode", "0", "--loss", "20%",
        "--jitter", "3", "--impair", "subscribers", "--direction", "down", "--json",
        "--require", "frames.received>=1", "--require", "latency.arrive.p50<=0.001",
    )  # fmt: skip
    assert done.code == 1, done.err
    report = done.document
    transport = report["transport"]
    assert transport["link_down_sent"] > 50
    share = transport["link_down_lost"] / transport["link_down_sent"]
    assert 0.08 < share < 0.35
    assert transport["link_up_lost"] == 0
    assert transport["packets_recovered"] + transport["packets_lost"] > 0
    met = {entry["require"]: entry["met"] for entry in report["verdict"]["requirements"]}
    assert met == {"frames.received>=1": True, "latency.arrive.p50<=0.001": False}
    assert "latency.arrive.p50<=0.001" in done.err


async def test_a_network_that_passes_nothing_lets_nobody_in() -> None:
    done = await run(
        "loadtest", *LENIENT_SERVE, "--loss", "100", "--json", "--decode", "0", timeout_s=120
    )
    assert done.code == 1
    assert done.out == ""
    assert "nobody could join" in done.last_line


async def test_a_peer_process_that_dies_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    process = await start(
        "loadtest", "--serve", "--engine", "null", "--size", "160x96", "--fps", "15",
        "--subscribers", "3", "--decode", "0", "--ramp", "0", "--duration", "6",
        "--processes", "2", "--json",
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"soak" not in await process.stderr.readline():
            pass
    os.kill(peer_process(process.pid), signal.SIGKILL)
    done = await outcome(process)
    assert done.code == 3, done.err
    report = done.document
    assert report["generator"]["died"] == 1
    assert report["verdict"]["outcome"] == "inconclusive"
    assert report["joins"]["failed"] + report["joins"]["lost"] >= 1
    assert "its process died" in report["joins"]["reasons"]
    assert "exit code -9" in done.err


def peer_process(parent: int) -> int:
    """Return the id of a peer process of *parent*."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if b"load.process" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no peer process")


async def test_a_run_that_is_interrupted_lets_everybody_leave_and_still_reports() -> None:
    async with relay_process() as (_, url):
        process = await start(
            "loadtest", url, *SMALL[:6], "--duration", "60", "--json", "--no-generator-check",
            "--require", "relay.sessions_left==0",
        )  # fmt: skip
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"soak" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        done = await outcome(process)
    assert done.code == 0, done.err
    assert done.document["interrupted"] is True
    assert done.document["soak_s"] < 60


async def test_a_relay_that_dies_is_its_own_failure_and_a_token_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", f"main:{'0' * 32}")
    monkeypatch.delenv("RTCODEC_TOKEN", raising=False)
    token = await run("token", "--room", "*", "--publish", "--subscribe", "--admin")
    async with relay_process() as (relay, url):
        refused = await run("loadtest", url, *SMALL, "--decode", "0")
        assert refused.code == 1
        assert "401" in refused.last_line
        process = await start(
            "loadtest", url, "--token", token.out.strip(), *SMALL[:6], "--duration", "60", "--json",
            "--decode", "0", "--no-generator-check",
        )  # fmt: skip
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"soak" not in await process.stderr.readline():
                pass
        relay.kill()
        done = await outcome(process)
    assert done.code == 1, done.err
    assert done.document["joins"]["lost"] == 2
    assert done.document["soak_s"] < 60  # nobody is left to wait for


@pytest.mark.parametrize("name", ["report.json", "timeline.csv"])
async def test_nothing_is_left_of_a_run_that_never_began(name: str, tmp_path: Path) -> None:
    done = await run("loadtest", "http://127.0.0.1:9", "--out", str(tmp_path))
    assert done.code == 1
    assert "connection refused" in done.last_line
    assert not (tmp_path / name).exists()
