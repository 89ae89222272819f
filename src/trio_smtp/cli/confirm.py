"""No mail is deleted unasked: a person is asked, a program says ``--yes``."""

from __future__ import annotations

import sys

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError

__all__ = ["ask", "confirm"]


def confirm(holder: str, messages: int, *, yes: bool) -> None:
    """Return if `holder` may go with its messages: there are none, or `yes` was given, or the answer is yes.

    Raises:
        CommandError: the answer is no.
        UsageError: there is nobody to ask.
    """
    if messages and not yes:
        holds = f"{escape(holder)} holds {messages} message{'s' if messages > 1 else ''}"
        ask(holds, "delete them", refusal="nothing was deleted")


def ask(fact: str, deed: str, *, refusal: str) -> None:
    """Return if the answer is yes, to a question that `fact` and `deed` make.

    Raises:
        CommandError: the answer is no; `refusal` is what it says then.
        UsageError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{fact}; add --yes to {deed}")
    sys.stderr.write(f"{fact[:1].upper()}{fact[1:]}. {deed[:1].upper()}{deed[1:]}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # but Ctrl-D
        sys.stderr.write("\n")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError(refusal)
