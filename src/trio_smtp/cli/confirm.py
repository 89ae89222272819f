"""Ask for confirmation before mail is deleted: a person answers on the terminal, a program gives ``--yes``."""

from __future__ import annotations

import sys

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.cli.output import counted

__all__ = ["ask", "confirm"]


def confirm(holder: str, messages: int, *, yes: bool) -> None:
    """Return if `holder` may be deleted: it has no messages, or `yes` was given, or the user answers yes.

    Raises:
        CommandError: if the answer is no.
        UsageError: if standard input is not a terminal.
    """
    if messages and not yes:
        ask(f"{escape(holder)} holds {counted(messages, 'message')}", "delete them", refusal="nothing was deleted")


def ask(fact: str, deed: str, *, refusal: str) -> None:
    """Ask a question made of `fact` and `deed`, and return if the answer is yes.

    Raises:
        CommandError: if the answer is no. Its text is `refusal`.
        UsageError: if standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{fact}; add --yes to {deed}")
    sys.stderr.write(f"{fact[:1].upper()}{fact[1:]}. {deed[:1].upper()}{deed[1:]}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # ended by Ctrl-D
        sys.stderr.write("\n")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError(refusal)
