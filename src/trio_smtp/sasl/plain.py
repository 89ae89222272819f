"""PLAIN (RFC 4616): ``[authzid] NUL authcid NUL passwd`` in one response."""

from __future__ import annotations

from typing import Final

from trio_smtp.sasl.mechanism import Challenge, Failed, Step, Verify, decode_claim, decode_name

__all__ = ["Plain"]


class Plain:
    """One PLAIN exchange. Acting as another user (an authzid other than the authcid) is never granted."""

    name: Final = "PLAIN"

    def step(self, response: bytes | None) -> Step:
        """See `Mechanism.step`."""
        if response is None:
            return Challenge(b"")  # RFC 4954 §4: an empty challenge asks for the missing initial response
        parts = response.split(b"\0")
        if len(parts) != 3:
            return Failed()
        authzid, authcid, password = parts
        name, secret = decode_name(authcid), decode_claim(password)
        if name is None or secret is None or authzid not in (b"", authcid):
            return Failed()
        return Verify(name, secret)
