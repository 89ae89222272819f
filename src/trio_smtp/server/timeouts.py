"""How long the server waits for what."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts, in seconds. If the client is too slow it gets 421, even in the middle of a message.

    Args:
        handshake: for the header of the PROXY protocol, and for a TLS handshake.
        command: for the next complete command or AUTH response, counted from the last one, so that a client that
            drips octets gains nothing (RFC 5321 §4.5.3.2.7: at least 5 minutes).
        data: for the next piece of a message (RFC 5321 §4.5.3.2.5: 3 minutes), and the time before `minimum_rate` is
            enforced.
        minimum_rate: octets a second that a message must bring on average.
        session: for the whole connection.
        hook: for one hook, not counting the time that it waits for the client's octets. When it expires, the hook is
            cancelled and the command gets 451.
        commit: for the hook `message` after the last octet of a message, when nothing else can cancel it. The same as
            `data` by default, so that the deadline need not be moved for each message.
        drain: for busy connections to finish when the server stops.
        goodbye: for the last reply to go out and the connection to close.

    Raises:
        TypeError: if a value is not a number.
        ValueError: if a value is not positive.
    """

    handshake: float = 30
    command: float = 300
    data: float = 180
    minimum_rate: float = 500
    session: float = 24 * 3600
    hook: float = 120
    commit: float = 180
    drain: float = 30
    goodbye: float = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)):
                raise TypeError(f"Timeouts.{field.name} must be a number, not {value!r}; math.inf means no limit")
            if not value > 0:
                raise ValueError(f"Timeouts.{field.name} must be greater than 0, not {value}")
