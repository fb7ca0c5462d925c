"""What is in docker/: a dashboard and alerts whose every name is exported, images, compose."""

import asyncio
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import jsonschema
import pytest
import yaml

import rtcodec
from rtcodec_server.config import ServerConfig
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.settings import read_settings
from rtcodec_server.webhook_config import WebhookConfig
from support.relay import MovingTrack, RelayClient, relay, until
from support.webhook import SECRET

ROOT = Path(rtcodec.__file__).parents[1]
DOCKER = ROOT / "docker"
DEBIAN = ROOT / "tests" / "interop" / "debian"
PROMETHEUS = shutil.which("prometheus") or (DEBIAN / "prometheus")
PROMTOOL = shutil.which("promtool") or (DEBIAN / "promtool")
SCHEMA = DEBIAN / "compose_spec.json"

needs_prometheus = pytest.mark.skipif(
    not Path(PROMETHEUS).exists() or not Path(PROMTOOL).exists(),
    reason="Prometheus is not here (.ci/interop)",
)

QUIET = {
    "Engine failures": "no engine fails here",
    "Sessions that ended": "nobody leaves twice, which a rate needs",
    "Requests refused": "nobody is refused twice",
    "Recordings that ended": "none ends",
    "Dropped": "a quick machine drops none",
}
"Panels that may be empty on a relay that does well, and why."


def maker() -> ModuleType:
    """Import docker/dashboard.py."""
    spec = importlib.util.spec_from_file_location("dashboard", DOCKER / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboard"] = module
    spec.loader.exec_module(module)
    return module


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/rtcodec.json").read_text())
    return document


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return document


def filled(expression: str) -> str:
    """Put in what Grafana does."""
    return expression.replace("$__rate_interval", "10s").replace("$instance", ".*")


@asynccontextmanager
async def busy_relay(folder: Path) -> AsyncIterator[tuple[str, RelayClient]]:
    """A relay in which everything goes on that has figures."""
    record = RecordConfig(directory=folder, min_free_mb=0)
    hook = WebhookConfig(url="http://127.0.0.1:9/", secret=SECRET, attempts=1)
    async with relay(psnr="all", bitrate_kbps=200, record=record, webhook=hook) as (server, client):
        await client.publish("room", MovingTrack(64, 48))
        watch = await client.watch("room")
        await until(lambda: len(watch.frames) > 5)
        yield server.url, client


# ------------------------------------------------------------------------ names


async def test_every_metric_that_is_asked_for_is_exported(tmp_path: Path) -> None:
    async with busy_relay(tmp_path) as (_, client), client.http.get("/metrics") as response:
        text = await response.text()
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    samples = set(re.findall(r"^(rtcodec_\w+)", text, re.MULTILINE))
    asked = [*expressions(), *(alert["expr"] for alert in alerts())]
    names = {name for expression in asked for name in re.findall(r"rtcodec_\w+", expression)}
    assert len(names) > 25
    # counters without a value yet have a family and no sample
    assert names <= samples | families, sorted(names - samples - families)
    # and labels that are chosen by are there
    for label, value in re.findall(r'(event|stage|plane|outcome)!?="(\w+)"', " ".join(asked)):
        assert f'{label}="{value}"' in text, (label, value)


def test_the_dashboard_is_what_its_table_says() -> None:
    assert (DOCKER / "grafana/dashboards/rtcodec.json").read_text("utf-8") == maker().text()
    assert expressions() == [maker()._filled(query) for query in maker().queries()]


def test_panels_say_what_they_show_and_do_not_cover_each_other() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    for panel in panels():
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


# ------------------------------------------------------------------------ Prometheus


def run_promtool(*words: str) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_prometheus_takes_its_settings_and_alerts(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    settings = (DOCKER / "prometheus/prometheus.yml").read_text()
    assert "/run/secrets/metrics_token" in settings
    (tmp_path / "prometheus.yml").write_text(
        settings.replace("/run/secrets/metrics_token", str(token))
    )
    shutil.copy(DOCKER / "prometheus/alerts.yml", tmp_path)
    run_promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert f"{len(alerts())} rules found" in run_promtool(
        "check", "rules", str(tmp_path / "alerts.yml")
    )


@needs_prometheus
async def test_every_panel_shows_something_of_a_busy_relay(tmp_path: Path) -> None:
    """A real Prometheus scrapes a real relay and is asked what Grafana would ask."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with busy_relay(tmp_path) as (url, _):
        host = url.removeprefix("http://")
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [{"job_name": "rtcodec", "static_configs": [{"targets": [host]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            str(PROMETHEUS),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
                await scraped(http, process)
                found = {
                    panel["title"]: [
                        await asked(http, filled(target["expr"])) for target in panel["targets"]
                    ]
                    for panel in panels()
                }
                for alert in alerts():
                    await asked(http, alert["expr"])
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
    empty = {title for title, answers in found.items() if not all(answers)}
    assert empty <= set(QUIET), empty - set(QUIET)


async def scraped(http: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
    """Wait until Prometheus has seen the relay a few times, with PSNR and webhooks moving."""
    query = "min_over_time(count_over_time(rtcodec_ready[10s])[1s:1s]) >= 6"
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                if await asked(http, query):
                    return
            except aiohttp.ClientConnectionError:
                pass  # it starts
            await asyncio.sleep(0.2)
    raise AssertionError("Prometheus ended")


async def asked(http: aiohttp.ClientSession, query: str) -> list[Any]:
    """Ask for a query's value now."""
    async with http.get("/api/v1/query", params={"query": query}) as response:
        document = await response.json()
    if response.status == 503:
        return []  # it starts
    assert document["status"] == "success", (query, document)
    answer: list[Any] = document["data"]["result"]
    return answer


# ------------------------------------------------------------------------ compose, images


@pytest.mark.skipif(not SCHEMA.exists(), reason="no schema of compose files (.ci/interop)")
def test_the_compose_file_is_one() -> None:
    document = compose()
    del document["name"]  # of the specification since 2022, Debian's schema is from 2021
    jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_compose_mounts_what_is_there_and_pins_what_it_pulls() -> None:
    document = compose()
    for name, service in document["services"].items():
        assert re.fullmatch(r"[\w/.-]+:(cpu|v?\d[\w.]+)", service["image"]), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            known = source in document["volumes"]
            assert known or (DOCKER / source).exists(), source
        for secret in service.get("secrets", ()):
            assert secret in document["secrets"]
    build = document["services"]["relay"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).exists()
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/rtcodec.yml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in document["services"]["grafana"]["volumes"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "docker/metrics_token" in ignored  # a secret


def test_the_relay_of_the_compose_file_starts_with_its_settings() -> None:
    service = compose()["services"]["relay"]
    environment = dict(service["environment"], RTCODEC_KEYS="main:" + "x" * 32)
    config = ServerConfig(**read_settings(None, environment))
    assert config.record.directory == Path("/recordings")
    assert config.record.rooms == ()
    assert config.log_format == "json"
    assert config.grafana_url.endswith(f"/d/{dashboard()['uid']}")
    config.check_reachable()
    assert service["command"][0] == "serve"


@pytest.mark.parametrize("name", ["cpu.Dockerfile", "gpu.Dockerfile"])
def test_an_image_runs_the_command_as_nobody_special(name: str) -> None:
    text = re.sub(r"\\\n\s*", " ", (DOCKER / name).read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = [line.split(maxsplit=1)[0] for line in lines]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD",
             "ENV"}  # fmt: skip
    assert set(words) <= known, set(words) - known
    assert words[0] == "FROM"
    last = lines[max(at for at, word in enumerate(words) if word == "FROM") :]
    assert "USER rtcodec" in last
    assert last.index("USER rtcodec") > max(n for n, s in enumerate(last) if s.startswith("RUN"))
    assert 'ENTRYPOINT ["rtcodec"]' in last
    assert "STOPSIGNAL SIGTERM" in last
    assert any("--owner rtcodec /recordings" in line for line in last)
    assert not re.search(r"FROM \S+:latest|FROM [^:\s]+(\s|$)", text)  # a tag each
    for line in lines:
        if line.startswith("RUN"):
            checked = subprocess.run(
                ["sh", "-n", "-c", line[4:]], capture_output=True, check=False, timeout=10
            )
            assert checked.returncode == 0, line


def test_extras_of_the_images_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name in ("cpu.Dockerfile", "gpu.Dockerfile"):
        (asked_for,) = re.findall(r"\$\{wheel\}\[([\w,]+)\]", (DOCKER / name).read_text())
        assert set(asked_for.split(",")) <= set(extras)
