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

from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.output import warn
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal cannot show
    arguments = vars(build_parser().parse_args(argv))
    module, name = arguments.pop("command")
    try:
        command = partial(getattr(import_module(f"{__name__}.{module}"), name), **arguments)
        if inspect.iscoroutinefunction(command.func):
            import_module("trio").run(command)
        else:
            command()
        sys.stdout.flush()
    except CommandError as error:
        warn(str(error))
        return error.exit_code
    except BrokenPipeError:  # `| head` has seen enough; Python would complain when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0
