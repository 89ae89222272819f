"""The command ``trio-smtp``.

Exit codes: 0 for success, 1 for a runtime error, 2 for wrong usage. An error prints one sentence on standard error. A
traceback is a bug.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from trio_smtp.cli.errors import CommandError, OutputError, reason
from trio_smtp.cli.output import drop, flush, warn
from trio_smtp.cli.parser import build_parser

__all__ = ["main"]

_INTERRUPTED = 130  # the exit code that shells report for SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default those of the process.

    Raises:
        SystemExit: if ``--help``, ``--version`` or a wrong flag is given.
    """
    _complete_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for characters that the terminal cannot encode or decode
    code = 0
    try:
        try:
            code = _run(argv)
        finally:
            flush()  # to notice a write error here, not when Python exits
    except OutputError as error:
        drop(sys.stdout)
        if not isinstance(error.__cause__, BrokenPipeError):  # else a reader such as `| head` has closed the pipe
            warn(str(error))
            return CommandError.exit_code
    except OSError as error:  # one that no command has handled
        warn(f"{error.filename}: {reason(error)}" if error.filename else reason(error))
        return CommandError.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _complete_streams() -> None:
    """Open /dev/null for each stream that the shell has closed (``>&-``), before another file gets its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nothing, True)  # for workers, which exit if they have no standard error
            setattr(sys, name, open(nothing, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(build_parser().parse_args(argv))
    module, name = arguments.pop("command")
    command = partial(getattr(import_module(f"{__name__}.{module}"), name), **arguments)
    try:
        if inspect.iscoroutinefunction(command.func):
            import_module("trio").run(command)
        else:
            command()
    except CommandError as error:
        warn(str(error))
        return error.exit_code
    return 0
