"""The envelope: who sends the message and who is to get it (RFC 5321 §2.3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from trio_smtp.protocol.addresses import Address
from trio_smtp.protocol.parameters import MailParameters, RcptParameters

__all__ = ["Envelope"]


@dataclass(slots=True)
class Envelope:
    """An open transaction as far as it was accepted.

    Args:
        sender: the reverse-path, None for ``<>``.
        params: the parameters of MAIL.
        recipients: the accepted forward-paths, in the order in which they came.
        recipient_params: the parameters of RCPT, one entry a recipient.
    """

    sender: Address | None
    params: MailParameters
    recipients: list[Address] = field(default_factory=list)
    recipient_params: list[RcptParameters] = field(default_factory=list)
