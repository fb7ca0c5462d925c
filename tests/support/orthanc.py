"""A real DICOMweb server: Orthanc, from Debian, on loopback, with a configuration of its own."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = None if PROGRAM and PLUGIN.exists() else "orthanc or its DICOMweb is not installed"
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running server."""

    port: int
    dicom_port: int
    log: Path

    @property
    def web(self) -> str:
        """Where DICOMweb is."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def store(self, file: bytes) -> None:
        """Put a DICOM file into it."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/instances", file)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["Status"] in ("Success", "AlreadyStored")


@contextmanager
def run_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Give out a server that keeps all it has in *folder*; it ends with the context."""
    port, dicom_port = _free_ports(2)
    config = {
        "Name": "tests", "StorageDirectory": str(folder / "kept"),
        "IndexDirectory": str(folder / "kept"), "Plugins": [str(PLUGIN)],
        "HttpServerEnabled": True, "HttpPort": port, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomServerEnabled": True, "DicomPort": dicom_port,
        "DicomModalities": {}, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    settings, log = folder / "orthanc.json", folder / "orthanc.log"
    settings.write_text(json.dumps(config))
    assert PROGRAM is not None
    with log.open("wb") as out:
        process = subprocess.Popen([PROGRAM, str(settings)], stdout=out, stderr=out, cwd=folder)
    try:
        server = Orthanc(port, dicom_port, log)
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Orthanc, process: subprocess.Popen[bytes]) -> None:
    """Wait until it answers searches."""
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(f"{server.web}/studies", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(server.log.read_text("utf-8", "replace")) from None
            time.sleep(0.1)  # it says nothing when it is ready


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
