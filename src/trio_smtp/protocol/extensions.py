"""The service extensions, in one table: the EHLO reply and the parameters that it unlocks are derived from it.

What is not advertised is not accepted (RFC 5321 §4.1.1.11), so both come from the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from trio_smtp.protocol.config import Config, Limits
from trio_smtp.protocol.replies import Reply

__all__ = ["EXTENSIONS", "Extension", "Offer", "Situation", "offer"]


class Situation(NamedTuple):
    """All that decides which extensions are offered now; `extended` is true for EHLO and LHLO."""

    config: Config
    extended: bool
    tls_active: bool
    tls_available: bool
    auth_mechanisms: tuple[str, ...]

    @property
    def can_authenticate(self) -> bool:
        """Whether AUTH may be used now (RFC 4954 §4)."""
        return bool(self.auth_mechanisms) and (self.tls_active or not self.config.auth_requires_tls)


class Extension(NamedTuple):
    """One service extension.

    `line` returns its line in the EHLO reply, None while it is not offered; `mail` and `rcpt` are the parameters that
    it allows on MAIL and on RCPT.
    """

    keyword: str
    line: Callable[[Situation], str | None]
    mail: frozenset[bytes] = frozenset()
    rcpt: frozenset[bytes] = frozenset()


def _always(line: str) -> Callable[[Situation], str | None]:
    return lambda _: line


def _limits(limits: Limits) -> str | None:
    """The line of LIMITS: those of our limits that fit in six digits (RFC 9422 §4), None if there is none."""
    bounds = {"MAILMAX": limits.transactions, "RCPTMAX": limits.recipients}
    told = [f"{name}={bound}" for name, bound in bounds.items() if bound <= 999_999]
    return " ".join(["LIMITS", *told]) if told else None


EXTENSIONS: Final[Sequence[Extension]] = (
    Extension("PIPELINING", _always("PIPELINING")),  # RFC 2920
    Extension("SIZE", lambda at: f"SIZE {at.config.limits.message_size}", mail=frozenset({b"SIZE"})),  # RFC 1870
    Extension("8BITMIME", _always("8BITMIME"), mail=frozenset({b"BODY"})),  # RFC 6152
    Extension("SMTPUTF8", _always("SMTPUTF8"), mail=frozenset({b"SMTPUTF8"})),  # RFC 6531
    Extension("ENHANCEDSTATUSCODES", _always("ENHANCEDSTATUSCODES")),  # RFC 2034
    Extension("CHUNKING", _always("CHUNKING")),  # RFC 3030
    Extension("BINARYMIME", _always("BINARYMIME"), mail=frozenset({b"BODY"})),  # RFC 3030
    Extension(  # RFC 3461
        "DSN",
        lambda at: "DSN" if at.config.dsn else None,
        mail=frozenset({b"RET", b"ENVID"}),
        rcpt=frozenset({b"NOTIFY", b"ORCPT"}),
    ),
    Extension("LIMITS", lambda at: _limits(at.config.limits)),  # RFC 9422
    Extension("STARTTLS", lambda at: "STARTTLS" if at.tls_available and not at.tls_active else None),  # RFC 3207
    Extension(  # RFC 4954
        "AUTH",
        lambda at: f"AUTH {' '.join(at.auth_mechanisms)}" if at.can_authenticate else None,
        mail=frozenset({b"AUTH"}),
    ),
    Extension("HELP", _always("HELP")),  # RFC 5321 §4.1.1.8
)


class Offer(NamedTuple):
    """What one HELO, EHLO or LHLO offers: the reply, and the parameters that it unlocks on MAIL and on RCPT."""

    reply: Reply
    mail: frozenset[bytes]
    rcpt: frozenset[bytes]


@lru_cache(maxsize=64)  # a server has few situations and every connection asks
def offer(situation: Situation) -> Offer:
    """The extensions that are offered in this situation; HELO offers none (RFC 5321 §3.2)."""
    rows = [row for row in EXTENSIONS if situation.extended and row.keyword not in situation.config.without]
    offered = [(line, row) for row in rows if (line := row.line(situation)) is not None]
    return Offer(
        Reply(250, (situation.config.hostname, *(line for line, _ in offered)), ""),
        frozenset[bytes]().union(*(row.mail for _, row in offered)),
        frozenset[bytes]().union(*(row.rcpt for _, row in offered)),
    )
