"""Read passwords from the terminal or a pipe; never from the command line, which every user of the machine can read."""

from __future__ import annotations

import getpass
import sys

from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.mailbox.passwords import MAX_PASSWORD

__all__ = ["ask_for_password", "read_password"]


def read_password(*, from_stdin: bool) -> str:
    """Ask for a password, or read it from standard input, without one newline at its end.

    Raises:
        UsageError: if it should be asked for, but standard input is not a terminal.
        CommandError: if no password was typed, or it is not text.
    """
    if not from_stdin:
        if not sys.stdin.isatty():
            raise UsageError(
                "cannot ask for the password: no terminal; add --password-stdin to read it from standard input"
            )
        return ask_for_password("Password: ")
    # The longest password, its newline, and one octet more, so that a longer password is noticed.
    octets = sys.stdin.buffer.read(MAX_PASSWORD + 2)
    try:
        return octets.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise CommandError("the password on standard input is not UTF-8; nothing was done") from error


def ask_for_password(prompt: str) -> str:
    """Ask for a password on the terminal.

    Raises:
        CommandError: if nothing was typed, or it is not text.
    """
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise CommandError("no password was entered; nothing was done") from error
    except UnicodeDecodeError as error:
        raise CommandError(
            "the password is not valid in the character encoding of this terminal; nothing was done"
        ) from error
