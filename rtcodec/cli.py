"""
The `rtcodec` command: finds the subcommand, turns errors into exit codes.

Subcommands are modules with `add_arguments(parser)` and `run(args) -> int`,
named here and imported only when asked for, so `rtcodec --help` is instant and
one command's missing extra never breaks another. Nothing is decided here.

    0 ok | 1 their data | 2 usage or settings | 3 our failure
    130 interrupted | 141 the reader of our output went away
"""

import argparse
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import rtcodec
from rtcodec.errors import ConfigError, RtcodecError

EXIT_OK = 0
EXIT_DATA = 1
EXIT_USAGE = 2
EXIT_OURS = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_PIPE = 141  # 128 + SIGPIPE


class Entry(NamedTuple):
    """Where a subcommand lives."""

    module: str
    "Dotted name of a module with `add_arguments` and `run`."

    summary: str
    "One line for `rtcodec --help`; empty hides the command there."


class CommandModule(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds `(default: X)` to an option's help unless the help tells already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if "default" in text or action.required or action.default in (None, False):
            return text
        return super()._get_help_string(action)


COMMANDS: dict[str, Entry] = {
    "demo": Entry(
        "rtcodec_client.demo_command", "relay, publish and watch a clip on this machine, live"
    ),
    "serve": Entry("rtcodec_server.serve_command", "run the relay"),
    "gateway": Entry(
        "rtcodec_server.gateway_command", "turn a relay's room into ordinary VP8 and H.264 WHEP"
    ),
    "forward": Entry(
        "rtcodec_server.forward_command", "carry a room's latents from one relay to another"
    ),
    "token": Entry("rtcodec_server.token_command", "make a token that a relay with keys accepts"),
    "publish": Entry(
        "rtcodec_client.publish_command", "publish a file, a camera or a pattern to a relay"
    ),
    "watch": Entry("rtcodec_client.watch_command", "subscribe to a relay: show, save or measure"),
    "play": Entry("rtcodec_client.play_command", "play a recording into a room, as it was coded"),
    "loadtest": Entry(
        "rtcodec_client.loadtest_command", "many synthetic peers at a relay, measured and judged"
    ),
    "encode": Entry("rtcodec.codec.encode_command", "compress a video or an image to .rtc"),
    "receive": Entry(
        "rtcodec_server.receive_command", "take what DICOM nodes send and keep it exactly"
    ),
    "decode": Entry("rtcodec.codec.decode_command", "turn a .rtc back into video or images"),
    "restore": Entry("rtcodec.codec.restore_command", "take the artefacts out of JPEG files"),
    "inspect": Entry(
        "rtcodec.bitstream.inspect_command", "show every field of a .rtc with its offset"
    ),
    "eval": Entry(
        "rtcodec.evaluation.command", "rate-distortion against other codecs on your own files"
    ),
    "train": Entry("rtcodec.models.train", "train a model on a folder of images and clips"),
    "export": Entry("rtcodec.models.export", "freeze a trained model into a bundle"),
    "train-head": Entry("rtcodec.models.train_head", "train the perceptual head"),
    "refine": Entry("rtcodec_engines.refine_command", "fit what a model does to decoded pictures"),
    "models": Entry("rtcodec.codec.models_command", "list the installed models"),
    "webmodel": Entry("rtcodec.models.web_command", "write a model as browsers load it"),
    "doctor": Entry(
        "rtcodec.codec.doctor_command", "what hardware and engines are usable, and why not"
    ),
    "engines": Entry("rtcodec_engines.engines_command", "build, list and check TensorRT engines"),
    "vectors": Entry("rtcodec.conformance.vectors_command", ""),
}

# Top-level packages of optional extras, for the hint when one is missing.
_EXTRA_OF = {
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "tensorrt": "tensorrt",
    "openvino": "cpu",
    "onnxruntime": "cpu",
    "pydicom": "medical",
    "pynetdicom": "medical",
    "imagecodecs": "medical",
    "tifffile": "medical",
}


def usage() -> str:
    """Return the text of `rtcodec --help`."""
    lines = [
        "usage: rtcodec [--version] [--help] [--debug] COMMAND ...",
        "",
        "A real-time neural video relay.",
        "",
        "commands:",
    ]
    lines += [f"  {name:<11}{entry.summary}" for name, entry in COMMANDS.items() if entry.summary]
    lines += [
        "",
        "options:",
        "  --version  print the version",
        "  --debug    show the traceback of an unexpected failure",
        "",
        "`rtcodec COMMAND --help` tells more. First time here: rtcodec demo",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command line.

    Args:
        argv: The arguments without the program's name; those of the process
            when None.

    Returns:
        The exit code; every exception but SystemExit has become one.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = words[:1] == ["--debug"]
    if debug:
        del words[0]
    try:
        code = _guarded(lambda: _dispatch(words), debug=debug)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_PIPE
    return code


def _dispatch(words: list[str]) -> int:
    if not words:
        print(usage(), file=sys.stderr)
        return EXIT_USAGE
    name, rest = words[0], words[1:]
    if name in ("-h", "--help", "help"):
        print(usage())
        return EXIT_OK
    if name in ("-V", "--version"):
        print(f"rtcodec {rtcodec.__version__}")
        return EXIT_OK
    if name not in COMMANDS:
        raise ConfigError(_unknown(name))
    entry = COMMANDS[name]
    module = _load(entry.module)
    parser = argparse.ArgumentParser(
        prog=f"rtcodec {name}",
        description=_description(name, entry),
        formatter_class=_HelpFormatter,
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(rest))


def _description(name: str, entry: Entry) -> str:
    summary = entry.summary or name
    return f"{summary[0].upper()}{summary[1:]}."


def _unknown(name: str) -> str:
    kind = "option" if name.startswith("-") else "command"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; see rtcodec --help"
    return f"unknown {kind} {name!r}{hint}"


def _load(module: str) -> CommandModule:
    try:
        return cast(CommandModule, importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(error)) from error


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    if extra is None:
        return f"this installation lacks {error.name or error}"
    return f"this command needs {package}: pip install 'rtcodec[{extra}]'"


def _guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Run *work*; say what went wrong in one line and return its exit code."""
    try:
        return work()
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except RtcodecError as error:
        return _say(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return _say(_missing(error), EXIT_USAGE)
    except OSError as error:
        return _say(_os_message(error), EXIT_DATA if error.filename else EXIT_OURS)
    except MemoryError:
        return _say("out of memory", EXIT_OURS)
    except Exception as error:
        if debug:
            traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"internal error, {text} (rtcodec --debug ... shows where)", EXIT_OURS)


def _os_message(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _say(message: str, code: int) -> int:
    print(f"rtcodec: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _discard_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
