"""Scripts of the viewer in node."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from rtcodec.entropy.build import WEB

_NODE = shutil.which("node")
needs_node = pytest.mark.skipif(_NODE is None, reason="node is not installed")


def in_node(module: str, body: str, given: object) -> Any:
    """Run *body* with `given` and what a module exports, `m`; return what it returns."""
    address = (WEB / "src" / module).as_uri()
    script = f"""
        import * as m from {json.dumps(address)};
        import {{ readFileSync }} from "node:fs";
        const given = JSON.parse(readFileSync(0, "utf-8"));
        const run = () => {{ {body} }};
        process.stdout.write(JSON.stringify(run()));
    """
    assert _NODE is not None
    done = subprocess.run(
        [_NODE, "--input-type=module", "-e", script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
