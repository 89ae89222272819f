"""Passwords: typed on a terminal, or piped in; never on the command line, which every user of the machine can read."""

from __future__ import annotations

import getpass
import sys

from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.mailbox.passwords import MAX_PASSWORD

__all__ = ["read_password"]


def read_password(*, from_stdin: bool) -> str:
    """Ask for a password, or read it from standard input, without one newline at its end.

    Raises:
        UsageError: there is nobody to ask.
        CommandError: what was piped in is no text.
    """
    if not from_stdin:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for the password; add --password-stdin to read it")
        return getpass.getpass("Password: ")
    # One octet more than any password has, so that a longer one is noticed; and a newline.
    octets = sys.stdin.buffer.read(MAX_PASSWORD + 2)
    try:
        return octets.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise CommandError("the password on standard input is not UTF-8; nothing was done") from error
