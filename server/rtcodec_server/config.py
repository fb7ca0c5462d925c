"""
The relay's settings: what there is, the defaults, and what each may be.

Where they come from is `settings`' business. Secrets are kept out of `repr`. Sections of the file
have modules of their own.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rtcodec.codec.denoiser import DENOISE_MODES, OFF
from rtcodec.engine.loader import ENGINE_NAMES
from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec.rate_control import MAX_FRAME_FACTOR
from rtcodec.session.ladder import RungSpec, check_rungs
from rtcodec.session.lobby import Limits
from rtcodec.session.message import check_room_name
from rtcodec.types import MAX_SIDE_PX, QP_MAX
from rtcodec_server.access import check_keys
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.client_limits import PublisherLimits, RequestLimits
from rtcodec_server.config_check import check, is_http, is_loopback, is_origin
from rtcodec_server.edge_config import ForwardConfig, LegacyConfig
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.webhook_config import WebhookConfig
from rtcodec_server.workers.limits import (
    ENGINE_PLACES,
    MAX_ENGINES,
    MAX_WORKER_ROOMS,
    MAX_WORKERS,
    ProcessLimits,
)

PSNR_MODES: Final = ("auto", "all", "off")
ENGINES: Final = (*ENGINE_NAMES, "null")
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What `rtcodec serve` can be told."""

    host: str = "127.0.0.1"
    "Address to listen on; 0.0.0.0 for all. A loopback address keeps media on loopback too."

    port: int = 8080
    "TCP port of HTTP; 0 takes a free one. Media use UDP ports of the system's choice."

    model: str = "s128"
    "Name of an installed model."

    engine: str = "auto"
    "What runs the networks."

    engine_processes: int = 1
    "With `process`: how many, as with several GPUs; each has streams of its own."

    engine_fallback: str = "auto"
    "What takes over when the engine's device is gone: an engine's name, auto, or off."

    threads: int = 0
    "Threads of the engine for one frame; 0 takes as many as there are cores."

    workers: int = 1
    "Media worker processes, one event loop each; 0 or 1: everything in one process."

    engine_in: str = "workers"
    "Where networks run: `workers`, in each of them, or `process`, in one for all of them."

    qp: int = 32
    "Quantiser of every stream, 0 (finest) to 63 (coarsest); not used with a bit rate."

    bitrate_kbps: int | None = None
    "Target of every stream, kilobits of bitstream per second; none codes at a constant qp."

    denoise: str = OFF
    "Noise taken out of every stream before it is coded: off, auto (as much as measured), strong."

    max_frame_factor: float = MAX_FRAME_FACTOR
    "How many frames' even share of the target one may take, above 1; twice that a key frame."

    rungs: tuple[RungSpec, ...] = ()
    """Sizes and rates that each stream may be coded at, finest first, at most three; whoever needs
    one makes it be coded. None codes every stream once, at its size."""

    follow_remb: bool = True
    "Whether the narrowest way to a subscriber of a room, by REMB or TWCC, lowers its target."

    min_bitrate_kbps: int | None = None
    "How far at most; whose way stays below does not count. None: an eighth of bitrate_kbps."

    psnr: str = "auto"
    "Which frames' PSNR is measured: all, off, or auto: those there is time for."

    restore: bool = False
    "Whether VP8's and H.264's artefacts are taken out before coding, while there is time."

    open: bool = False
    "Whether to let everybody in without keys although the address is not a loopback one."

    issuer: str | None = None
    "What tokens' claim `iss` must be; none accepts any."

    metrics_open: bool = False
    "Whether /metrics answers without a token although there are keys."

    cors_origins: tuple[str, ...] | None = None
    "Origins of web pages that may call; none: all (`*`) with keys, those of loopback without."

    trusted_proxies: tuple[str, ...] = ()
    "Networks of proxies whose X-Forwarded-For is believed."

    allow_candidates: tuple[str, ...] = ()
    "Networks that ICE may reach although they are loopback, link-local, multicast or metadata."

    tls_cert: Path | None = None
    "PEM file of the certificate and its chain; makes it https. Read again on SIGHUP."

    tls_key: Path | None = None
    "PEM file of the certificate's key."

    log_format: str = "text"
    "text, or json: one object a line."

    log_level: str = "warning"
    "Least that is logged: debug, info, warning or error. Sessions come and go at info."

    drain_s: float = 8.0
    "How long sessions may go on after SIGTERM; it ends at once when there are none."

    frame_deadline_ms: int = 200
    "A frame that waited this long for the engine is dropped."

    max_batch: int = 4
    "Frames of different streams that may run together."

    warm: tuple[tuple[int, int], ...] = ((640, 360),)
    "Frame sizes (width, height) to get ready for; the first frames of others are dropped."

    ice_servers: tuple[str, ...] = ()
    "STUN and TURN URLs; none are needed where peers reach this machine."

    grafana_url: str = ""
    "Where operators' browsers find Grafana; the dashboard links to it. Empty: no link."

    tap: Path | None = None
    "Folder for rings of raw frames that a subscriber on this machine measures against."

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    "Key id -> secret of at least 32 bytes; with any, tokens are asked for."

    limits: Limits = field(default_factory=Limits)
    requests: RequestLimits = field(default_factory=RequestLimits)
    publisher: PublisherLimits = field(default_factory=PublisherLimits)
    webhook: WebhookConfig = field(default_factory=WebhookConfig)
    legacy: LegacyConfig = field(default_factory=LegacyConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    studies: StudyConfig = field(default_factory=StudyConfig)

    forward: Mapping[str, ForwardConfig] = field(default_factory=dict)
    "Room -> the room of another relay whose latents it passes on."
    processes: ProcessLimits = field(default_factory=ProcessLimits)

    def __post_init__(self) -> None:
        """
        Check the values.

        Raises:
            ConfigError: If one is out of range.
        """
        check(0 <= self.port <= 65535, f"port {self.port} is outside 0 to 65535")
        check(0 <= self.qp <= QP_MAX, f"qp {self.qp} is outside 0 to {QP_MAX}")
        kbps = self.bitrate_kbps
        check(kbps is None or 1 <= kbps <= 10**6, f"{kbps} kb/s is outside 1 to 1000000")
        least = self.min_bitrate_kbps
        check(
            least is None or kbps is None or 1 <= least <= kbps,
            f"a floor of {least} kb/s for a target of {kbps} kb/s",
        )
        check(
            self.denoise in DENOISE_MODES,
            f"denoise {self.denoise!r} is none of {', '.join(DENOISE_MODES)}",
        )
        check(self.max_frame_factor > 1, f"a frame of at most {self.max_frame_factor} shares")
        check(self.engine in ENGINES, f"engine {self.engine!r} is none of {', '.join(ENGINES)}")
        check(
            self.engine_fallback in (*ENGINES, "off"),
            f"engine_fallback {self.engine_fallback!r} is none of {', '.join(ENGINES)}, off",
        )
        check(self.psnr in PSNR_MODES, f"psnr {self.psnr!r} is none of {', '.join(PSNR_MODES)}")
        check(self.threads >= 0, f"{self.threads} threads")
        self._check_processes()
        check(self.frame_deadline_ms >= 1, f"a deadline of {self.frame_deadline_ms} ms")
        check(self.max_batch >= 1, f"a batch of at most {self.max_batch} frames")
        check_rungs(self.rungs)
        check(
            not self.rungs or kbps is None,
            "bitrate_kbps and rungs: say the rate of each rung instead, such as 360p@800",
        )
        self._check_access()
        for room in self.forward:
            try:
                check_room_name(room)
            except RemoteProtocolError as error:
                raise ConfigError(f"forward {room!r}: {error}") from None
        for width, height in self.warm:
            check(
                1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX,
                f"{width}x{height} is outside 1x1 to {MAX_SIDE_PX}x{MAX_SIDE_PX}",
            )

    def _check_processes(self) -> None:
        most = MAX_WORKERS
        check(0 <= self.workers <= most, f"{self.workers} workers are outside 0 to {most}")
        places = ENGINE_PLACES
        check(self.engine_in in places, f"engine_in {self.engine_in!r}: {' or '.join(places)}")
        n_engines = self.engine_processes
        check(
            1 <= n_engines <= MAX_ENGINES,
            f"{n_engines} engine processes are outside 1 to {MAX_ENGINES}",
        )
        check(
            n_engines == 1 or self.engine_in == "process",
            "engine_processes: only with engine_in = 'process'",
        )
        n_rooms = self.limits.max_rooms
        check(
            not self.is_supervised or n_rooms <= MAX_WORKER_ROOMS,
            f"max_rooms {n_rooms}: at most {MAX_WORKER_ROOMS} with worker processes",
        )

    def _check_access(self) -> None:
        check_keys(self.keys)
        has_cert, has_key = self.tls_cert is not None, self.tls_key is not None
        check(has_cert == has_key, "tls_cert and tls_key: both or none of them")
        check(
            self.log_format in LOG_FORMATS,
            f"log format {self.log_format!r} is none of {', '.join(LOG_FORMATS)}",
        )
        check(
            self.log_level in LOG_LEVELS,
            f"log level {self.log_level!r} is none of {', '.join(LOG_LEVELS)}",
        )
        check(0 <= self.drain_s <= 86_400, f"{self.drain_s:g} s to drain")
        for network in (*self.trusted_proxies, *self.allow_candidates):
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ConfigError(f"{network!r} is not a network such as 10.0.0.0/8") from None
        check(
            not self.grafana_url or is_http(self.grafana_url),
            "grafana_url is not an http or https URL",
        )
        for origin in self.cors_origins or ():
            check(is_origin(origin), f"{origin!r} is neither '*' nor such as https://example.org")

    @property
    def is_supervised(self) -> bool:
        """Whether there are processes beside this one."""
        return self.workers > 1 or self.engine_in == "process"

    @property
    def tab_model(self) -> str | None:
        """Name of the model that pages decode; None where there is only the stand-in of tests."""
        return None if self.engine == "null" else self.model

    @property
    def study_model(self) -> str | None:
        """Name of the model of previews of studies; None where there are none."""
        if self.studies.directory is None:
            return None
        return self.studies.model or self.tab_model

    @property
    def loopback_only(self) -> bool:
        """Whether media should stay on 127.0.0.1, as HTTP does."""
        return is_loopback(self.host)

    def check_tap(self) -> None:
        """
        Check that the folder for the frame tap is there.

        Raises:
            ConfigError: If it is not.
        """
        is_there = self.tap is None or self.tap.is_dir()
        check(is_there, f"{self.tap}: no such directory for the frame tap")

    def check_reachable(self) -> None:
        """
        Check that whoever can reach the relay has to show a token, or that this is meant so.

        Raises:
            ConfigError: If everybody could come in by accident.
        """
        check(
            bool(self.keys) or self.open or self.loopback_only,
            f"listening on {self.host} without keys would let everybody in: set RTCODEC_KEYS or "
            "[keys] in the file, or say --open",
        )
