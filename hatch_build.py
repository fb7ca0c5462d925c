"""
Compile the C sources when the package is built or installed in place.

The compiled libraries know nothing of Python's ABI: the wheel is for any Python 3
of this platform.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryHook(BuildHookInterface[Any]):
    """Puts each library, as `entropy/_rans.<ext>`, beside its sources and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; *version* is `standard` or `editable`."""
        root = Path(self.root)
        build = _load(root / "rtcodec" / "entropy" / "build.py")
        for library, sources in build.LIBRARIES.items():
            try:
                build.compile_coder(library, build.inherited_environment(), sources=sources)
            except build.BuildError as error:
                self.app.abort(str(error))
            self.app.display_info(f"compiled {library.relative_to(root)} ({version})")
            build_data["artifacts"].append(library.relative_to(root).as_posix())
        self._add_web(build, version, build_data)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

    def _add_web(self, build: ModuleType, version: str, build_data: dict[str, Any]) -> None:
        """Add the viewer for browsers; without Clang it has no decoder, and pages say so."""
        if version == "standard":  # what runs in place finds it where it lies
            for path in (build.WEB / "src").glob("*.js"):
                build_data["force_include"][str(path)] = f"rtcodec/web/{path.name}"
        environment = build.inherited_environment()
        if build.find_wasm_compiler(environment) is None:
            self.app.display_info("no Clang with wasm-ld: no decoder for browsers")
            return
        for module, sources in build.WASM_MODULES.items():
            try:
                build.compile_wasm(module, environment, sources=sources)
            except build.BuildError as error:
                self.app.display_warning(str(error))
                return
            self.app.display_info(f"compiled {module.name} ({version})")
            if version == "standard":
                build_data["force_include"][str(module)] = f"rtcodec/web/{module.name}"


def _load(path: Path) -> ModuleType:
    """Import one file by path: the package itself needs numpy, a build has none."""
    spec = importlib.util.spec_from_file_location("rtcodec_entropy_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
