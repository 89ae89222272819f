"""The command ``trio-smtp``.

Exit codes: 0; 1 for what went wrong at run time; 2 for wrong usage. Either comes with one sentence on standard error.
A traceback is a bug.
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

_INTERRUPTED = 130  # what shells make of SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the command line without the program's name; by default that of the process.

    Raises:
        SystemExit: after ``--help``, ``--version`` or a wrong flag.
    """
    _complete_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal cannot show, or should not have sent
    try:
        try:
            return _run(argv)
        finally:
            flush()  # a fault is to show here, not when Python exits
    except OutputError as error:
        drop(sys.stdout)
        if isinstance(error.__cause__, BrokenPipeError):  # `| head` has seen enough
            return 0
        warn(str(error))
        return CommandError.exit_code
    except OSError as error:  # what no command has thought of
        warn(f"{error.filename}: {reason(error)}" if error.filename else reason(error))
        return CommandError.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def _complete_streams() -> None:
    """Put something in the place of streams that the shell has closed (``>&-``), before a file gets their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nothing, True)  # by workers, who end without a standard error
            setattr(sys, name, open(nothing, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - to the end


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
