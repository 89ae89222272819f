"""The envelope and the parsed contents of a message, as records for JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from trio_smtp.mime import Attachment, MailAddress, ParsedMessage, Part
from trio_smtp.mime.fields import to_text

__all__ = ["envelope_record", "parsed_record"]

_NOTED = re.compile(rb"Return-Path: <(.*)>\r?\n((?:Delivered-To: .*\n)*)")
_RECIPIENT = re.compile(rb": ([^\r\n]*)")


def envelope_record(content: bytes) -> Mapping[str, object] | None:
    """Sender and recipients from the fields that the server has prepended; None if the message did not come by SMTP."""
    noted = _NOTED.match(content)
    if noted is None:
        return None
    recipients = _RECIPIENT.findall(noted[2])
    return {"sender": to_text(noted[1]), "recipients": list(map(to_text, recipients))}


def parsed_record(parsed: ParsedMessage) -> Mapping[str, object]:
    """The parsed message, without the content of its parts, which ``mail show --part`` prints."""
    return {
        "subject": parsed.subject,
        "from": _addresses(parsed.from_),
        "sender": _address(parsed.sender) if parsed.sender else None,
        "reply_to": _addresses(parsed.reply_to),
        "to": _addresses(parsed.to),
        "cc": _addresses(parsed.cc),
        "bcc": _addresses(parsed.bcc),
        "date": parsed.date.isoformat() if parsed.date else None,
        "message_id": parsed.message_id,
        "in_reply_to": list(parsed.in_reply_to),
        "references": list(parsed.references),
        "text": parsed.text,
        "html": parsed.html,
        "links": list(parsed.links),
        "attachments": [_attachment(each) for each in parsed.attachments],
        "tree": _part(parsed.tree),
        "defects": list(parsed.defects),
    }


def _address(address: MailAddress) -> Mapping[str, str]:
    return {"name": address.name, "address": address.address}


def _addresses(addresses: Iterable[MailAddress]) -> list[Mapping[str, str]]:
    return [_address(each) for each in addresses]


def _attachment(attachment: Attachment) -> Mapping[str, object]:
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "part": attachment.part.path,
        "inline": attachment.inline,
        "content_id": attachment.content_id,
    }


def _part(part: Part) -> Mapping[str, object]:
    return {
        "path": part.path,
        "content_type": part.content_type,
        "charset": part.charset,
        "size": part.size,
        "disposition": part.disposition,
        "filename": part.filename,
        "content_id": part.content_id,
        "parts": [_part(child) for child in part.children],
    }
