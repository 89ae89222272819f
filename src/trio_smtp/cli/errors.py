"""What a command says when it cannot do its work: one sentence and what to do about it."""

from __future__ import annotations

import os

__all__ = ["CommandError", "OutputError", "UsageError", "reason"]


class CommandError(Exception):
    """Something went wrong at run time."""

    exit_code = 1


class UsageError(CommandError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class OutputError(Exception):
    """Standard output takes no more. Its cause is the OSError."""


def reason(error: OSError | RuntimeError | MemoryError) -> str:
    """Why the system refused, in the middle of a sentence: ``address already in use``, ``can't start new thread``."""
    if not isinstance(error, OSError):
        return str(error) or "out of memory"
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return text if text[:2].isupper() else text[:1].lower() + text[1:]  # AF_UNIX path too long
