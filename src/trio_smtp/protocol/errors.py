"""The caller's mistakes.

What a peer sends never raises: its faults become replies. What raises is misuse by the program that drives the
connection, so that a bug there is loud and cannot be confused with a bad client.
"""

from __future__ import annotations

__all__ = ["LocalProtocolError"]


class LocalProtocolError(Exception):
    """The program that drives an `SMTPConnection` called it out of turn, such as a verdict when none is waited for."""
