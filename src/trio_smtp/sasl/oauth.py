"""OAUTHBEARER (RFC 7628) and XOAUTH2, its predecessor at Google and Microsoft: a bearer token instead of a password.

To refuse a token, the server sends the reason as a challenge. The client answers with a dummy response, and only then
the exchange fails (RFC 7628 §3.2.3). The reason is the same whatever is wrong with the token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Final

from trio_smtp.sasl.mechanism import Challenge, CheckToken, Failed, Step, decode_name, decode_saslname

__all__ = ["OAuthBearer", "XOAuth2"]

_BEARER = rb"auth=bearer (?P<token>[A-Za-z0-9\-._~+/]+=*)\x01"  # RFC 6750 §2.1


class _Bearer:
    """One exchange: the response with the token and, after a refusal, the dummy response."""

    _form: ClassVar[re.Pattern[bytes]]
    _refusal: ClassVar[Challenge]
    _decode_name: Callable[[bytes], str | None]

    def __init__(self) -> None:
        self._asked = False

    def step(self, response: bytes | None) -> Step:
        """See `Mechanism.step`."""
        if response is None:
            return Challenge(b"")
        match = None if self._asked else self._form.fullmatch(response)
        self._asked = True
        if match is None:
            return Failed()
        username = None
        if match["name"] is not None:
            username = self._decode_name(match["name"])
            if username is None:
                return Failed()
        return CheckToken(username, match["token"].decode("ascii"), self._refusal)


class OAuthBearer(_Bearer):
    """One OAUTHBEARER exchange. The user name is optional, because the token identifies the user."""

    name: Final = "OAUTHBEARER"
    _form = re.compile(
        rb"[ny],(?:a=(?P<name>[^,\x00\x01]+))?,\x01"
        rb"(?:(?!auth=)[A-Za-z]+=[^\x00\x01]*\x01)*%b(?:(?!auth=)[A-Za-z]+=[^\x00\x01]*\x01)*\x01" % _BEARER,
        re.IGNORECASE,
    )
    _refusal = Challenge(b'{"status":"invalid_token"}')
    _decode_name = staticmethod(decode_saslname)


class XOAuth2(_Bearer):
    """One XOAUTH2 exchange: ``user=NAME`` and ``auth=Bearer TOKEN``, each ended by an octet of value 1."""

    name: Final = "XOAUTH2"
    _form = re.compile(rb"user=(?P<name>[^\x00\x01]+)\x01%b\x01" % _BEARER, re.IGNORECASE)
    _refusal = Challenge(b'{"status":"401","schemes":"bearer"}')
    _decode_name = staticmethod(decode_name)
