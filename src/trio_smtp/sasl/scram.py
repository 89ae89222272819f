"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): the password is never sent.

The client proves that it knows ClientKey, the server that it knows ServerKey. With its `ScramKeys` the server checks
the client's proof and makes its own. A thief of these keys cannot log in without guessing the password.

The 235 reply of SMTP cannot carry data, so the server sends its final message as a challenge, which the client answers
with an empty response (RFC 4954 §4).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from functools import partial
from typing import ClassVar, Final

from trio_smtp.sasl.keys import ScramKeys, hmac_sha256
from trio_smtp.sasl.mechanism import Challenge, Failed, FetchKeys, Proved, Step, decode_saslname

__all__ = ["Scram", "ScramPlus"]

_VALUE = rb"[^,\0]+"
_CLIENT_FIRST = re.compile(  # RFC 5802 §7: gs2-header, client-first-message-bare; a mandatory extension (m=) is refused
    rb"((?:(?P<flag>[ny])|p=(?P<binding>%b)),(?:a=(?P<authzid>%b))?,)"
    rb"(n=(?P<name>%b),r=(?P<nonce>[!-+\--~]{1,256})(?:,[A-Za-z]=%b)*)" % ((_VALUE,) * 4)
)
_CLIENT_FINAL = re.compile(rb"(c=(?P<channel>%b),r=(?P<nonce>%b)(?:,[A-Za-z]=%b)*),p=(?P<proof>%b)" % ((_VALUE,) * 4))
_BINDING: Final = b"tls-server-end-point"


class Scram:
    """One SCRAM-SHA-256 exchange.

    Args:
        nonce: the server's part of the nonce: printable ASCII without comma, never used before.
        plus_offered: whether SCRAM-SHA-256-PLUS was offered too. If so, a client that supports it but says that it was
            not offered fails: somebody has removed it from the offer on the way (RFC 5802 §6).
    """

    name: ClassVar[str] = "SCRAM-SHA-256"
    _end_point: bytes = b""

    def __init__(self, nonce: str, *, plus_offered: bool = False) -> None:
        self._nonce = nonce.encode("ascii")
        self._flags = (b"n",) if plus_offered else (b"n", b"y")
        self._next = self._first

    def step(self, response: bytes | None) -> Step:
        """See `Mechanism.step`."""
        if response is None:
            return Challenge(b"")
        return self._next(response)

    def _first(self, response: bytes) -> Step:
        self._next = self._end
        match = _CLIENT_FIRST.fullmatch(response)
        if match is None or not self._binds(match["flag"], match["binding"]):
            return Failed()
        username = decode_saslname(match["name"])
        if username is None or match["authzid"] not in (None, match["name"]):
            return Failed()
        self._nonce = match["nonce"] + self._nonce
        return FetchKeys(username, partial(self._challenge, match[1], match[5]))

    def _binds(self, flag: bytes | None, binding: bytes | None) -> bool:
        """Whether the client's channel binding flag and type are acceptable for this mechanism."""
        return flag in self._flags

    def _challenge(self, header: bytes, client_first: bytes, keys: ScramKeys) -> Step:
        server_first = b"r=%b,s=%b,i=%d" % (self._nonce, b64encode(keys.salt), keys.iterations)
        self._next = partial(self._final, header, client_first + b"," + server_first, keys)
        return Challenge(server_first)

    def _final(self, header: bytes, so_far: bytes, keys: ScramKeys, response: bytes) -> Step:
        self._next = self._end
        match = _CLIENT_FINAL.fullmatch(response)
        if match is None or match["nonce"] != self._nonce:
            return Failed()
        channel, proof = _decode(match["channel"]), _decode(match["proof"])
        if channel != header + self._end_point or proof is None or len(proof) != 32:
            return Failed()
        message = so_far + b"," + match[1]
        signature = hmac_sha256(keys.stored_key, message)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key):
            return Failed()
        self._next = self._acknowledged
        return Challenge(b"v=" + b64encode(hmac_sha256(keys.server_key, message)))

    def _acknowledged(self, response: bytes) -> Step:
        self._next = self._end
        return Failed() if response else Proved()

    def _end(self, response: bytes) -> Step:
        return Failed()


class ScramPlus(Scram):
    """One SCRAM-SHA-256-PLUS exchange, bound to the TLS channel so that a man in the middle cannot relay it.

    Args:
        nonce: see `Scram`.
        end_point: the hash of the server's certificate (RFC 5929 §4.1); see `tls_server_end_point`.
    """

    name: ClassVar[str] = "SCRAM-SHA-256-PLUS"

    def __init__(self, nonce: str, end_point: bytes) -> None:
        super().__init__(nonce)
        self._end_point = end_point

    def _binds(self, flag: bytes | None, binding: bytes | None) -> bool:
        return binding == _BINDING


def _decode(data: bytes) -> bytes | None:
    try:
        return b64decode(data, validate=True)
    except binascii.Error:
        return None
