"""LOGIN (draft-murchison-sasl-login): asks for the user name, then the password. Obsolete, but clients still use it."""

from __future__ import annotations

from typing import Final

from trio_smtp.sasl.mechanism import Challenge, Failed, Step, Verify, decode_claim, decode_name

__all__ = ["Login"]


class Login:
    """One LOGIN exchange. The initial response, if there is one, is the user name."""

    name: Final = "LOGIN"

    def __init__(self) -> None:
        self._username: bytes | None = None

    def step(self, response: bytes | None) -> Step:
        """See `Mechanism.step`."""
        if response is None:
            return Challenge(b"Username:")
        if self._username is None:
            self._username = response
            return Challenge(b"Password:")
        name, secret = decode_name(self._username), decode_claim(response)
        return Failed() if name is None or secret is None else Verify(name, secret)
