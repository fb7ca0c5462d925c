"""
Children that end with their parent, whatever ends it.

The kernel kills them (PR_SET_PDEATHSIG); where that is not heard, the control channel ends.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from typing import Final

from rtcodec.errors import ConfigError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """
    Have this process killed when the thread that started it ends; end at once if it has.

    Args:
        parent: The process that started this one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_channel() -> socket.socket:
    """Return the control channel that `spawn` gave this process, and tie it to its parent."""
    end, parent = (int(word) for word in sys.argv[1:3])
    die_with_parent(parent)
    return socket.socket(fileno=end)


async def spawn(module: str) -> tuple[asyncio.subprocess.Process, socket.socket]:
    """
    Start `python -m MODULE` apart from the terminal's signals.

    Returns:
        The process, and our end of its control channel.

    Raises:
        ConfigError: If this is not Linux, or no process can be started.
    """
    if sys.platform != "linux":
        raise ConfigError("worker processes need Linux: use workers = 1")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(theirs.fileno()),
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    except OSError as error:
        ours.close()
        raise ConfigError(f"cannot start a process: {error.strerror or error}") from error
    finally:
        theirs.close()
    return process, ours
