"""Mail is not deleted by the way: a person is asked, a program says ``--yes``."""

from __future__ import annotations

import sys

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError

__all__ = ["confirm"]


def confirm(holder: str, messages: int, *, yes: bool) -> None:
    """Return if `holder` may go with its messages: there are none, or `yes` was given, or the answer is yes.

    Raises:
        CommandError: the answer is no.
        UsageError: there is nobody to ask.
    """
    if yes or not messages:
        return
    holds = f"{escape(holder)} holds {messages} message{'s' if messages > 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(f"{holds}; add --yes to delete them")
    sys.stderr.write(f"{holds[:1].upper()}{holds[1:]}. Delete them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was deleted")
