"""What the mechanisms share: the results of a step, and the checks of names and passwords that a client sends."""

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

_CLAIM_LIMIT: Final = 1024  # octets of a name or password; longer ones are refused before they are hashed


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send `data` to the client and pass its response to the next step."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """Check a user name, prepared by SASLprep (RFC 4013), and a password as the client sent it."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchKeys:
    """Look up the SCRAM keys of a user and pass them to `resume`; `keys_of_nobody` if the user has none."""

    username: str
    resume: Callable[[ScramKeys], Step] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckToken:
    """Check a bearer token. If it is not valid, send `refusal`; the next step then fails."""

    username: str | None
    token: str = field(repr=False)
    refusal: Challenge


@dataclass(frozen=True, slots=True)
class CheckCertificate:
    """Check the client's certificate for `username`, None for the user that the certificate names."""

    username: str | None


@dataclass(frozen=True, slots=True)
class Proved:
    """The client has proved that it knows the password of the fetched keys: nothing is left to check."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The client violated the mechanism, gave a wrong proof, or asked for something that is never granted."""


Step: TypeAlias = Challenge | Verify | FetchKeys | CheckToken | CheckCertificate | Proved | Failed


class Mechanism(Protocol):
    """One exchange. The class attribute `name` is the name of the mechanism (RFC 4422 §3.1)."""

    def step(self, response: bytes | None) -> Step:
        """Take the client's next response, None if it sent no initial response, and return the next step."""
        ...


def decode_claim(data: bytes) -> str | None:
    """A name or password as text; None if it is not UTF-8, empty, too long, or has a NUL (RFC 4616 §2)."""
    if not data or len(data) > _CLAIM_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode_name(data: bytes) -> str | None:
    """A user name prepared by SASLprep (RFC 4013); None if `decode_claim` or SASLprep refuses it or leaves it empty."""
    claim = decode_claim(data)
    return (saslprep(claim) or None) if claim is not None else None


def decode_saslname(data: bytes) -> str | None:
    """As `decode_name`, for a saslname (RFC 5802 §5.1), in which ``=2C`` is a comma and ``=3D`` an equals sign."""
    if re.search(rb"=(?!2C|3D)", data):
        return None
    return decode_name(data.replace(b"=2C", b",").replace(b"=3D", b"="))
