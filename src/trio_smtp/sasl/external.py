"""EXTERNAL (RFC 4422, appendix A): the client's TLS certificate says who it is."""

from __future__ import annotations

from typing import Final

from trio_smtp.sasl.mechanism import Challenge, CheckCertificate, Failed, Step, decode_name

__all__ = ["External"]


class External:
    """One EXTERNAL exchange. The response is the user name that the client asks for, or empty."""

    name: Final = "EXTERNAL"

    def step(self, response: bytes | None) -> Step:
        """See `Mechanism.step`."""
        if response is None:
            return Challenge(b"")
        if not response:
            return CheckCertificate(None)
        username = decode_name(response)
        return Failed() if username is None else CheckCertificate(username)
