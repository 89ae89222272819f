"""A parsed message as JSON that a person can check: no empty fields, and one line for each part of the tree."""

from __future__ import annotations

from typing import Any

from trio_smtp.mime import Attachment, ParsedMessage, Part


def shape(parsed: ParsedMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"subject": parsed.subject}
    for name in ("from_", "reply_to", "to", "cc", "bcc"):
        found[name] = [[each.name, each.address] for each in getattr(parsed, name)]
    found["sender"] = parsed.sender and [parsed.sender.name, parsed.sender.address]
    found["date"] = parsed.date and parsed.date.isoformat()
    found["message_id"] = parsed.message_id
    found["in_reply_to"] = list(parsed.in_reply_to)
    found["references"] = list(parsed.references)
    found |= {"text": parsed.text, "html": parsed.html}
    found["attachments"] = list(map(attachment_shape, parsed.attachments))
    found["tree"] = [line(part) for part in parsed.tree.walk()]
    found["defects"] = list(parsed.defects)
    return {name: value for name, value in found.items() if value or name == "text"}


def attachment_shape(attachment: Attachment) -> list[str]:
    place = "inline" if attachment.inline else "attached"
    return [attachment.filename, f"part {attachment.part.path}, {place}", attachment.content_id]


def line(part: Part) -> str:
    charset = f"; {part.charset}" if part.charset else ""
    return f"{part.path} {part.content_type}{charset} ({part.size})"
