"""What mechanisms have in common: the three ways a step can end, and the limits on what a client may claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

__all__ = ["Challenge", "Failed", "Mechanism", "Step", "Verify", "decode_claim"]

_CLAIM_LIMIT: Final = 1024  # octets of a name or password; longer ones are refused before anybody hashes them


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this to the client and feed its response to the next step."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """What the client claims to be, to be checked. The password stays out of the representation."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The client did not keep to the mechanism, or asked for what is never granted."""


Step: TypeAlias = Challenge | Verify | Failed


class Mechanism(Protocol):
    """One exchange."""

    def step(self, response: bytes | None) -> Step:
        """Take the client's next response (None where it sent no initial one) and say what comes next."""
        ...


def decode_claim(data: bytes) -> str | None:
    """A name or password as text; None if it is no UTF-8, empty, has a NUL (RFC 4616 §2), or is too long."""
    if not data or len(data) > _CLAIM_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
