"""Passwords: typed on a terminal, or piped in; never on the command line, which every user of the machine can read."""

from __future__ import annotations

import getpass
import sys

from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.mailbox.passwords import MAX_PASSWORD

__all__ = ["ask_for_password", "read_password"]


def read_password(*, from_stdin: bool) -> str:
    """Ask for a password, or read it from standard input, without one newline at its end.

    Raises:
        UsageError: there is nobody to ask.
        CommandError: there is none, or it is no text.
    """
    if not from_stdin:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for the password; add --password-stdin to read it")
        return ask_for_password("Password: ")
    # One octet more than any password has, so that a longer one is noticed; and a newline.
    octets = sys.stdin.buffer.read(MAX_PASSWORD + 2)
    try:
        return octets.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise CommandError("the password on standard input is not UTF-8; nothing was done") from error


def ask_for_password(prompt: str) -> str:
    """Ask for a password on the terminal.

    Raises:
        CommandError: what was typed is none.
    """
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise CommandError("no password was typed; nothing was done") from error
    except UnicodeDecodeError as error:
        raise CommandError("the password is no text in the encoding of this terminal; nothing was done") from error
