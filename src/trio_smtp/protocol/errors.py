"""Errors of the caller.

Nothing that a peer sends raises: its faults become replies. Only misuse by the program that drives the connection
raises, so that a bug there is loud and cannot be confused with a bad client.
"""

from __future__ import annotations

__all__ = ["LocalProtocolError"]


class LocalProtocolError(Exception):
    """The program that drives an `SMTPConnection` misused it, such as by a verdict when no event waits for one."""
