"""
A model as it is shipped: one `.rtcm` file and its ONNX graphs beside it.

    n64.rtcm                safetensors: integer tables, gains, float weights
    n64.analysis.onnx       what the CPU engines run, named in the .rtcm
    n64.residual.onnx       by SHA-256 and checked each time they are read
    n64.synthesis.onnx
    n64.delta_hyper.onnx        and one more for delta frames, which CPU engines compute in C

The model id is a hash of what decides the meaning of a bitstream, so two files with one id
decode one stream alike. Needs no torch. No pickle: safetensors holds bytes and shapes only.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as write_safetensors

from rtcodec.entropy.cdf import EntropyTables
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.errors import ConfigError
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS

SUFFIX: Final = ".rtcm"
GRAPHS: Final = ("analysis", "residual", "synthesis")
"The ONNX graphs of intra frames, in the order in which a frame meets them."

DELTA_GRAPHS: Final = ("delta_hyper",)
"Those of delta frames."

DELTA: Final = "delta"
"Prefix of the tensors of delta frames."

SPATIAL: Final = "spatial"
"Prefix of those of frames predicted from themselves."

STEP_MAX: Final = 4096
CHROMA_FROM_LUMA: Final = "chroma_from_luma"
"Dimension of models whose spatial frames may predict chroma as a line of luma: 1."

DELTA_LATENTS: Final = 384
"Latents of a place of a delta frame: as many as its samples."

WEIGHTS_DIR: Final = Path(__file__).parent / "models" / "weights"
"Where the models that come with the package live."

QP_COUNT: Final = 64
FORMAT: Final = 1

_SCALE_NET_ARRAYS: Final = ("w1", "b1", "w2", "b2", "w3", "b3")
_METADATA_KEY: Final = "rtcodec"
_MAX_FILE_BYTES: Final = 1 << 30  # a bundle is a few MB; nothing near this is one
_MALFORMED: Final = (
    SafetensorError, OSError, TypeError, ValueError, KeyError, AttributeError,
    RecursionError,  # JSON that is nested without end
)  # fmt: skip
_DTYPES: Final = frozenset(
    ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32")
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """
    One model: its integer tables, gains, weights and graphs.

    Immutable: the arrays are read-only and the model id is that of the content.
    """

    name: str
    "Short name, such as `n64`; letters, digits, dot, dash and underscore."

    dims: Mapping[str, int]
    "Tier dimensions; at least `M` (latent channels) and `Cz` (hyper-latent channels)."

    tensors: Tensors
    """`gains` float32 [64, G], or `steps` int32 [64, 2] of delta frames; `scale_net.*` int8 or
    int32; the entropy tables; float weights by state-dict name."""

    graph_sha256: Mapping[str, str] = field(default_factory=dict)
    "Graph name to lower-case hexadecimal SHA-256 of its ONNX file."

    card: Mapping[str, Any] = field(default_factory=dict)
    "What it was trained on and how it scored; free JSON, not part of the model id."

    versions: Mapping[str, str] = field(default_factory=dict)
    "Versions of what made it; not part of the model id."

    directory: Path | None = None
    "Where the graphs lie; None for a bundle that was never on a disk."

    def __post_init__(self) -> None:
        """Validate names, dimensions and dtypes, and make every array read-only."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} is not a model name")
        for key in ("M", "Cz"):
            if not 1 <= self.dims.get(key, 0) <= 4096:
                raise ConfigError(f"model {self.name}: dimension {key} is missing or out of range")
        frozen = {key: _frozen(self.name, key, value) for key, value in self.tensors.items()}
        object.__setattr__(self, "tensors", frozen)
        if "steps" in self.tensors:
            steps = self.steps
            if (
                steps.dtype != np.int32
                or steps.shape != (QP_COUNT, 2)
                or not (steps.min() > 0 and steps.max() <= STEP_MAX)
            ):
                raise ConfigError(f"model {self.name}: steps are not int32 [{QP_COUNT}, 2]")
            return
        gains = self.tensor("gains")
        if gains.dtype != np.float32 or gains.ndim != 2 or gains.shape[0] != QP_COUNT:
            raise ConfigError(f"model {self.name}: gains are not float32 [{QP_COUNT}, G]")
        if not np.isfinite(gains).all():
            raise ConfigError(f"model {self.name}: gains are not finite")

    @property
    def latent_channels(self) -> int:
        """M, channels of the latents."""
        return self.dims["M"]

    @property
    def hyper_channels(self) -> int:
        """Cz, channels of the hyper-latents."""
        return self.dims["Cz"]

    @cached_property
    def delta(self) -> "Bundle | None":
        """
        The part for delta frames as a bundle of its own, or None for a model of intra frames.

        Its `M` counts the symbols of motion, the last `motion` of its channels.
        """
        return self._part(DELTA)

    @cached_property
    def spatial(self) -> "Bundle | None":
        """The same for frames that are predicted from themselves."""
        return self._part(SPATIAL)

    def _part(self, prefix: str) -> "Bundle | None":
        tensors = self.group(prefix)
        if not tensors:
            return None
        dims = {key: self.dims[key] for key in self.dims if key != "motion"}
        motion = self.dims.get("motion", 0)
        if motion != MOTION_CHANNELS:
            raise ConfigError(
                f"model {self.name}: dimension motion is {motion}; this version reads models with "
                f"{MOTION_CHANNELS}"
            )
        if "contexts" not in tensors:
            raise ConfigError(f"model {self.name}: no {prefix}.contexts: it is of an earlier draft")
        dims |= {"M": DELTA_LATENTS + motion, "motion": motion}
        return Bundle(self.name, dims, tensors, self.graph_sha256, directory=self.directory)

    @property
    def delta_tables(self) -> EntropyTables | None:
        """The entropy tables of delta frames, if the model has any."""
        return None if self.delta is None else self.delta.entropy_tables

    @property
    def spatial_tables(self) -> EntropyTables | None:
        """The entropy tables of frames that are predicted from themselves, if it has any."""
        return None if self.spatial is None else self.spatial.entropy_tables

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the graphs that the model needs."""
        return GRAPHS if self.delta is None else GRAPHS + DELTA_GRAPHS

    @property
    def chroma_from_luma(self) -> bool:
        """Whether chroma of spatial frames may be predicted from luma (SPEC 9.6)."""
        return bool(self.dims.get(CHROMA_FROM_LUMA, 0))

    @property
    def is_int8(self) -> bool:
        """Whether the trunks are made for 8-bit integers (docs/adr/014)."""
        return any(name.endswith(".log_range") for name in self.tensors)

    @property
    def gains(self) -> npt.NDArray[np.float32]:
        """[64, G] float32: row qp is the `gains` input of every graph."""
        return self.tensor("gains")

    @property
    def steps(self) -> npt.NDArray[np.int32]:
        """[64, 2] int32: of delta frames, what a symbol of 1 is in luma and chroma, by qp."""
        return self.tensor("steps")

    @cached_property
    def model_id(self) -> bytes:
        """
        SHA-256 over name-independent content: format, dimensions and all tensors.

        Tensors come in order of name, each as name, dtype, shape and little-endian bytes.
        Card, versions, name and graphs do not enter: they do not change what a stream means.
        """
        head = {"dims": dict(self.dims), "format": FORMAT}
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for key in sorted(self.tensors):
            value = self.tensors[key]
            line = f"\n{key} {value.dtype.name} {list(value.shape)}\n"
            digest.update(line.encode())
            digest.update(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.digest()

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """Return one tensor, read-only; ConfigError if the bundle has none of that name."""
        try:
            return self.tensors[name]
        except KeyError:
            raise ConfigError(f"model {self.name}: tensor {name} is missing") from None

    def group(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Tensors called `<prefix>.<rest>`, by rest."""
        start = f"{prefix}."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}

    @cached_property
    def entropy_tables(self) -> EntropyTables:
        """The validated tables of the entropy coder: tensors `y_cdf` and `z_cdf`."""
        tables = EntropyTables(
            self.tensor("y_cdf"), self.tensor("z_cdf"), self.tensors.get("contexts")
        )
        if tables.hyper_channels != self.hyper_channels:
            raise ConfigError(f"model {self.name}: z_cdf does not fit Cz = {self.hyper_channels}")
        return tables

    @cached_property
    def scale_net(self) -> ScaleNet:
        """The validated exact scale network: tensors `scale_net.*`, see `integer_tensors`."""
        shifts = self.tensor("scale_net.shifts")
        if shifts.dtype != np.int32 or shifts.shape != (3,):
            raise ConfigError(f"model {self.name}: scale_net.shifts is not int32 [3]")
        arrays = {key: self.tensor(f"scale_net.{key}") for key in _SCALE_NET_ARRAYS}
        s1, s2, s3 = map(int, shifts)
        always = self.dims.get("motion", 0)
        net = ScaleNet(**arrays, s1=s1, s2=s2, s3=s3, always_coded=always)
        if (net.latent_channels, net.hyper_channels) != (self.dims["M"], self.dims["Cz"]):
            raise ConfigError(f"model {self.name}: the scale network does not fit M and Cz")
        return net

    def graph_path(self, graph: str) -> Path:
        """Where the ONNX file of *graph* belongs."""
        if self.directory is None:
            raise ConfigError(f"model {self.name}: graph {graph} has no file")
        return self.directory / f"{self.name}.{graph}.onnx"

    def read_graph(self, graph: str) -> bytes:
        """
        Return the ONNX bytes of *graph*, checked against the SHA-256 in the bundle.

        Raises:
            ConfigError: If the bundle does not list it, or the file is missing or altered.
        """
        expected = self.graph_sha256.get(graph)
        if expected is None:
            raise ConfigError(f"model {self.name}: graph {graph} is not listed in the bundle")
        path = self.graph_path(graph)
        content = _read_file(path)
        if hashlib.sha256(content).hexdigest() != expected:
            raise ConfigError(f"{path}: not the file that model {self.name} was exported with")
        return content

    def save(self, path: Path) -> "Bundle":
        """
        Write the `.rtcm` file and list the graphs that lie beside it.

        Graphs are the files `<name>.<graph>.onnx` in the folder of *path*, written before.

        Returns:
            The bundle as `load` would return it.

        Raises:
            ConfigError: If *path* is not called `<name>.rtcm`.
        """
        if path.name != self.name + SUFFIX:
            raise ConfigError(f"{path}: model {self.name} belongs in {self.name}{SUFFIX}")
        graphs = {}
        for graph in self.graphs:
            file = path.parent / f"{self.name}.{graph}.onnx"
            if file.is_file():
                graphs[graph] = hashlib.sha256(file.read_bytes()).hexdigest()
        metadata = {
            "format": FORMAT,
            "name": self.name,
            "model_id": self.model_id.hex(),
            "dims": dict(self.dims),
            "graphs": graphs,
            "card": dict(self.card),
            "versions": dict(self.versions),
        }
        content = write_safetensors(
            dict(self.tensors),
            metadata={_METADATA_KEY: json.dumps(metadata, sort_keys=True)},
        )
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return Bundle.load(path)

    @staticmethod
    def load(path: Path) -> "Bundle":
        """
        Read a `.rtcm` file written by `save`.

        The model id in the header is checked against the content, so a damaged file is
        refused here. Graphs are checked when read, by `read_graph`.

        Raises:
            ConfigError: If the file is missing, not a bundle, newer than this reader, or
                altered.
        """
        _check_file(path)
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = _read_metadata(path, file.metadata() or {})
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except _MALFORMED as error:
            raise ConfigError(f"{path}: not a model bundle: {_one_line(error)}") from None
        bundle = Bundle(
            name=metadata["name"],
            dims=metadata["dims"],
            tensors=tensors,
            graph_sha256=metadata["graphs"],
            card=metadata["card"],
            versions=metadata["versions"],
            directory=path.parent,
        )
        if bundle.model_id.hex() != metadata["model_id"]:
            raise ConfigError(f"{path}: damaged: its content does not match its model id")
        return bundle


def integer_tensors(tables: EntropyTables, net: ScaleNet) -> dict[str, npt.NDArray[Any]]:
    """Name the integer parts of a model as `Bundle.tensors` does; `Bundle` gives them back."""
    contexts = {} if tables.contexts is None else {"contexts": tables.contexts}
    return {
        "y_cdf": tables.y_cdf,
        "z_cdf": tables.z_cdf,
        **contexts,
        **{f"scale_net.{key}": getattr(net, key) for key in _SCALE_NET_ARRAYS},
        "scale_net.shifts": np.array([net.s1, net.s2, net.s3], np.int32),
    }


def installed_bundles(directory: Path = WEIGHTS_DIR) -> list[Path]:
    """Return the bundle files in *directory*, by name."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def find_bundle(name: str, directory: Path = WEIGHTS_DIR) -> Bundle:
    """
    Load a model by installed name, or by path when *name* ends in `.rtcm`.

    Raises:
        ConfigError: If there is no such model; the message lists those there are.
    """
    if name.endswith(SUFFIX):
        return Bundle.load(Path(name))
    path = directory / f"{name}{SUFFIX}"
    if not _NAME.fullmatch(name) or not path.is_file():
        have = ", ".join(p.stem for p in installed_bundles(directory)) or "none"
        raise ConfigError(f"no model called {name!r}; installed: {have}")
    return Bundle.load(path)


def find_bundle_by_id(
    id_prefix: bytes, directory: Path = WEIGHTS_DIR, extra: Iterable[Bundle] = ()
) -> Bundle:
    """
    Load the installed model whose id starts with *id_prefix*.

    Args:
        id_prefix: First bytes of the model id, as in a sequence header.
        directory: Where to look.
        extra: Bundles already loaded, looked at first.

    Raises:
        ConfigError: If no installed model has that id.
    """
    for bundle in extra:
        if bundle.model_id.startswith(id_prefix):
            return bundle
    for path in installed_bundles(directory):
        bundle = Bundle.load(path)
        if bundle.model_id.startswith(id_prefix):
            return bundle
    raise ConfigError(f"no installed model has the id {id_prefix.hex()} that the stream needs")


def _frozen(model: str, key: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view of *value*, after a check of its dtype."""
    if value.dtype.name not in _DTYPES:
        raise ConfigError(f"model {model}: tensor {key} has dtype {value.dtype}")
    view = np.ascontiguousarray(value).reshape(value.shape).view()
    view.flags.writeable = False
    return view


def _check_file(path: Path) -> None:
    """Refuse what cannot be a bundle before it is mapped into memory."""
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if not path.is_file():
        raise ConfigError(f"{path}: not a file")
    if size_bytes > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: {size_bytes} bytes is too large for a model bundle")


def _read_metadata(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """Return the bundle's JSON metadata, its fields checked for type."""
    metadata = json.loads(header[_METADATA_KEY])
    if metadata["format"] != FORMAT:
        raise ConfigError(f"{path}: bundle format {metadata['format']} is not known here")
    for key, kind in _METADATA_KINDS.items():
        if not isinstance(metadata[key], kind):
            raise ConfigError(f"{path}: field {key} of the bundle is not a {kind.__name__}")
    for key, value in metadata["dims"].items():
        if type(value) is not int:
            raise ConfigError(f"{path}: dimension {key} is not an integer")
    return dict(metadata)


_METADATA_KINDS: Final[Mapping[str, type]] = {
    "name": str,
    "model_id": str,
    "dims": dict,
    "graphs": dict,
    "card": dict,
    "versions": dict,
}


def _read_file(path: Path) -> bytes:
    """Read a whole file, ConfigError if it cannot be."""
    _check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _one_line(error: BaseException) -> str:
    """Return the message of *error* as one line."""
    return " ".join(str(error).split()) or type(error).__name__
