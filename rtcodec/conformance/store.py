"""
Making the vectors again, and what stands in the way.

    recipes --make, observe--> files --compare--> added, changed, gone
                                 ^
                       what is on the disk

Vectors are a promise: what is there only changes when `VECTORS_VERSION` is
raised, with a line in the changelog that says why. A vector of a neural model
is a promise for as long as the package comes with that model; when another
takes its name, the vector is made anew.
"""

import difflib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtcodec.bitstream.inspect_command import inspection
from rtcodec.bundle import find_bundle
from rtcodec.conformance.malformed import MALFORMED_RECIPES
from rtcodec.conformance.model import CARRIED, vector_model, write_models
from rtcodec.conformance.neural import NEURAL_RECIPES, TOLERANCE, WRITING_ENGINE
from rtcodec.conformance.observe import Observation, observe
from rtcodec.conformance.recipes import RECIPES, Recipe
from rtcodec.conformance.spatial import SPATIAL_RECIPES
from rtcodec.conformance.vector import MODELS, find_vectors, read_pictures, write_pictures
from rtcodec.errors import InputError

VECTORS_VERSION = 1
"Raise it to change or remove what exists."

ALL_RECIPES = (*RECIPES, *NEURAL_RECIPES, *SPATIAL_RECIPES, *MALFORMED_RECIPES)

_SPEC_START, _SPEC_END = "<!-- smallest -->\n", "<!-- /smallest -->"

_INDEX_HEAD = """\
# Conformance vectors

What every decoder must make of given bytes; `rtcodec/bitstream/SPEC.md` says why. Made and checked
by `rtcodec vectors`, never by hand. Each folder has the stream, one line about it, and what a
decoder must say: offsets, headers, SHA-256 of hyper-latents (int8) and symbols (int16,
little-endian) in coding order and of the pictures of the models `null` and `exact` (Y, U, V), and
the error with its offset. Pictures of neural models are near those of `pixels.npz`, in root mean
square and peak per plane: float networks round differently on every device, the integers before
them do not.

| vector | what it tests | model |
|---|---|---|
"""

Files = dict[str, bytes]
"Content by path below the root, such as `vectors/smallest/input.rtc`."


@dataclass(frozen=True, slots=True)
class Plan:
    """What writing would do."""

    files: Files
    "Everything that should be there."

    added: list[str]
    changed: list[str]
    gone: list[str]
    "Paths below the root."

    version: int
    "Of the vectors on the disk; 0 if there are none."

    retired: tuple[str, ...] = ()
    "Folders of vectors whose model is no longer installed under its name."

    @property
    def refusal(self) -> str | None:
        """Why the plan may not be carried out, or None."""
        promised = [
            path
            for path in (*self.changed, *self.gone)
            if path not in _FREE and not path.startswith(self.retired)
        ]
        if promised and self.version >= VECTORS_VERSION:
            return (
                f"{len(promised)} files of version {self.version} would change, {promised[0]}"
                " first; to break the promise raise VECTORS_VERSION and say why in the changelog"
            )
        return None


_INDEX = "README.md"
_VERSION = "version.json"
_FREE = (_INDEX, _VERSION)


def plan(root: Path) -> Plan:
    """Make every vector and model and compare with what is below *root*; writes nothing there."""
    files: Files = {}
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        write_models(models)
        for path in models.iterdir():
            files[f"{MODELS}/{path.name}"] = path.read_bytes()
        for recipe in ALL_RECIPES:
            files |= _make(recipe, root, models)
    files[_INDEX] = index_of(ALL_RECIPES).encode()
    files[_VERSION] = _json({"version": VECTORS_VERSION, "vectors": len(ALL_RECIPES)})
    have = _files_of(root)
    return Plan(
        files=files,
        added=sorted(files.keys() - have.keys()),
        changed=sorted(path for path in files.keys() & have.keys() if files[path] != have[path]),
        gone=sorted(have.keys() - files.keys()),
        version=recorded(root)["version"],
        retired=tuple(path for path in map(_folder_of, ALL_RECIPES) if _is_retired(root, path)),
    )


def carry_out(planned: Plan, root: Path) -> None:
    """
    Write what *planned* says.

    Raises:
        InputError: If it may not be.
    """
    if planned.refusal:
        raise InputError(planned.refusal)
    for path in (*planned.added, *planned.changed):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(planned.files[path])
    for path in planned.gone:
        (root / path).unlink()


def describe(planned: Plan, root: Path) -> list[str]:
    """Return the differences as lines to print: added, gone, and diffs of what is text."""
    lines = [f"added    {path}" for path in planned.added]
    lines += [f"gone     {path}" for path in planned.gone]
    for path in planned.changed:
        lines.append(f"changed  {path}")
        if path.endswith((".rtc", ".rtcm", ".npz")):
            continue
        old, new = (root / path).read_text(), planned.files[path].decode()
        diff = difflib.unified_diff(old.splitlines(), new.splitlines(), "old", "new", "", "", 1, "")
        lines += [f"    {line}" for line in diff]
    return lines


def recorded(root: Path) -> dict[str, int]:
    """Return version and number of the vectors on the disk."""
    path = root / _VERSION
    if not path.exists():
        return {"version": 0, "vectors": 0}
    record: dict[str, int] = json.loads(path.read_text())
    return record


def index_of(recipes: Iterable[Recipe]) -> str:
    """Return the table of all vectors, Markdown."""
    rows = (f"| `{recipe.name}` | {recipe.about} | {recipe.model} |\n" for recipe in recipes)
    return _INDEX_HEAD + "".join(rows)


def annotated_spec(spec: str, smallest: bytes) -> str:
    """Return the spec with the smallest vector in its last section."""
    before, _, rest = spec.partition(_SPEC_START)
    _, _, after = rest.partition(_SPEC_END)
    table = "\n".join(f"    {line}".rstrip() for line in inspection(smallest))
    return f"{before}{_SPEC_START}\n    {smallest.hex(' ')}\n\n{table}\n\n{_SPEC_END}{after}"


def expectation_of(recipe: Recipe, seen: Observation) -> dict[str, Any]:
    """Return what `expect.json` says."""
    expectation: dict[str, Any] = {"model": recipe.model, **seen.report}
    if recipe.model not in CARRIED:
        expectation["pixels"] = dict(TOLERANCE)
    return expectation


def _make(recipe: Recipe, root: Path, models: Path) -> Files:
    """Return the files of one vector."""
    folder = _folder_of(recipe)
    neural = recipe.model not in CARRIED
    model = vector_model(recipe.model, models, WRITING_ENGINE)
    have = _kept(root, folder) if neural else None
    data = have["input.rtc"] if have else recipe.make()
    seen = observe(data, model)
    files = {
        "README": f"{recipe.about}\n".encode(),
        "input.rtc": data,
        "expect.json": _json(expectation_of(recipe, seen)),
    }
    if neural:
        files["pixels.npz"] = have["pixels.npz"] if have else _npz(seen)
    return {f"{folder}/{name}": content for name, content in files.items()}


def _folder_of(recipe: Recipe) -> str:
    return f"vectors/{recipe.name}"


def _kept(root: Path, folder: str) -> Files | None:
    """Return a neural vector that is there and stays: floats made it, so it is made once."""
    path = root / folder / "expect.json"
    if not path.exists() or _is_retired(root, folder):
        return None
    return {name: (path.parent / name).read_bytes() for name in ("input.rtc", "pixels.npz")}


def _is_retired(root: Path, folder: str) -> bool:
    """Say whether a vector is there whose model has another id by now."""
    path = root / folder / "expect.json"
    if not path.exists():
        return False
    expectation = json.loads(path.read_text())
    if expectation.get("model") in (None, *CARRIED):
        return False
    model_id = find_bundle(expectation["model"]).model_id.hex()
    return not model_id.startswith(expectation["sequence"]["model_id"])


def _npz(seen: Observation) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.npz"
        write_pictures(path, seen.pictures)
        assert len(read_pictures(path)) == len(seen.pictures)
        return path.read_bytes()


def _files_of(root: Path) -> Files:
    paths = [root / name for name in _FREE if (root / name).exists()]
    paths += (root / MODELS).glob("*.rtcm")
    if (root / "vectors").exists():
        for vector in find_vectors(root).values():
            paths += [path for path in vector.folder.iterdir() if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
