"""The errors of a command. Each has one sentence that says what is wrong and what to do about it."""

from __future__ import annotations

import os

__all__ = ["CommandError", "OutputError", "UsageError", "reason"]


class CommandError(Exception):
    """Something went wrong at run time."""

    exit_code = 1


class UsageError(CommandError):
    """The arguments are invalid or contradict each other."""

    exit_code = 2


class OutputError(Exception):
    """Standard output cannot be written. The cause is the OSError."""


def reason(error: OSError | RuntimeError | MemoryError) -> str:
    """The reason for an error, to be put in a sentence: ``address already in use``, ``can't start new thread``."""
    if not isinstance(error, OSError):
        return str(error) or "out of memory"
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return text if text[:2].isupper() else text[:1].lower() + text[1:]  # but not "AF_UNIX path too long"
