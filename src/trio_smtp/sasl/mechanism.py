"""What mechanisms have in common: how a step can end, and the limits on what a client may claim."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from trio_smtp.sasl.keys import ScramKeys
from trio_smtp.sasl.saslprep import saslprep

__all__ = [
    "Challenge",
    "CheckCertificate",
    "CheckToken",
    "Failed",
    "FetchKeys",
    "Mechanism",
    "Proved",
    "Step",
    "Verify",
    "decode_claim",
    "decode_name",
    "decode_saslname",
]

_CLAIM_LIMIT: Final = 1024  # octets of a name or password; longer ones are refused before anybody hashes them


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this to the client and feed its response to the next step."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """A user name, prepared (RFC 4013), and a password as it came, to be checked."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchKeys:
    """Look up the SCRAM keys of a user, `keys_of_nobody` if there are none, and pass them to `resume`."""

    username: str
    resume: Callable[[ScramKeys], Step] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckToken:
    """A bearer token, to be checked. If it is no good, `refusal` goes out and the next step fails."""

    username: str | None
    token: str = field(repr=False)
    refusal: Challenge


@dataclass(frozen=True, slots=True)
class CheckCertificate:
    """The client points to its certificate; `username` is whom it wants to be, None for whom the certificate names."""

    username: str | None


@dataclass(frozen=True, slots=True)
class Proved:
    """The client has proved that it has the keys that were fetched: nothing is left to check."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The client did not keep to the mechanism, did not prove who it is, or asked for what is never granted."""


Step: TypeAlias = Challenge | Verify | FetchKeys | CheckToken | CheckCertificate | Proved | Failed


class Mechanism(Protocol):
    """One exchange of a mechanism; its class has the mechanism's `name` (RFC 4422 §3.1)."""

    def step(self, response: bytes | None) -> Step:
        """Take the client's next response (None where it sent no initial one) and say what comes next."""
        ...


def decode_claim(data: bytes) -> str | None:
    """A password as text; None if it is no UTF-8, empty, has a NUL (RFC 4616 §2), or is too long."""
    if not data or len(data) > _CLAIM_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode_name(data: bytes) -> str | None:
    """A user name in the form of RFC 4013; None if `decode_claim` or SASLprep refuses it, or leaves nothing of it."""
    claim = decode_claim(data)
    return (saslprep(claim) or None) if claim is not None else None


def decode_saslname(data: bytes) -> str | None:
    """`decode_name` of a saslname (RFC 5802 §5.1), in which ``=2C`` is a comma and ``=3D`` an equals sign."""
    if re.search(rb"=(?!2C|3D)", data):
        return None
    return decode_name(data.replace(b"=2C", b",").replace(b"=3D", b"="))
