"""Target: MIME. Any message must be parsed within the limits, and the result must keep the promises of its docs."""

from __future__ import annotations

import re
from itertools import chain

from trio_smtp.mime import MimeLimits, ParsedMessage, page, parse, texts

SMALL = MimeLimits(octets=300, header=100, parts=4, depth=3, addresses=3, text=20)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
TYPE = re.compile(r"[^\s/]+/[^\s/]+")


def mime(data: bytes) -> None:
    """Parse a message. The first octet of the input selects small or default limits; the rest is the message."""
    limits = SMALL if data[:1] < b"\x80" else MimeLimits()
    content = data[1:]
    parsed = parse(content, limits)
    assert parsed == parse(content, limits)
    check(parsed, content, limits)
    for text in texts(content, limits):
        text.encode()


def check(parsed: ParsedMessage, content: bytes, limits: MimeLimits) -> None:
    """Check what must hold for every message."""
    check_tree(parsed, content, limits)
    check_names(parsed)
    check_page(parsed)
    addresses = [*parsed.from_, *parsed.reply_to, *parsed.to, *parsed.cc, *parsed.bcc]
    addresses += [parsed.sender] if parsed.sender else []
    assert len(addresses) <= limits.addresses
    assert all(each.name or each.address for each in addresses)
    lines = [parsed.subject, parsed.message_id, *parsed.in_reply_to, *parsed.references, *parsed.links]
    lines += chain.from_iterable(parsed.headers.values())
    lines += [text for each in addresses for text in (each.name, each.address)]
    assert not [line for line in lines if CONTROL.search(line)]
    texts = [parsed.text or "", parsed.html or ""]
    assert len(texts[0]) <= limits.text + limits.parts  # one LF between two parts
    for text in [*lines, *texts]:
        text.encode()
    assert parsed.date is None or parsed.date.tzinfo is not None
    assert len(parsed.defects) == len(set(parsed.defects)) <= 100
    assert all(defect.isascii() and defect.isprintable() and len(defect) < 300 for defect in parsed.defects)


def check_page(parsed: ParsedMessage) -> None:
    """Check that the mail stays within the attribute of the frame, and that the page does not grow too much."""
    shown = page(parsed, limit=100)
    assert (shown is None) == (parsed.html is None)
    if shown is not None:
        assert len(re.findall("<[a-z]", shown)) == 10  # the tags of the page itself
        assert len(shown.encode()) <= 2000 + 8 * len((parsed.subject + (parsed.html or "")).encode()) + 100


def check_tree(parsed: ParsedMessage, content: bytes, limits: MimeLimits) -> None:
    parts = list(parsed.tree.walk())
    assert len(parts) <= limits.parts
    assert sum(part.size for part in parts if not part.children) <= min(len(content), limits.octets)
    for part in parts:
        assert len(part.content) == part.size
        assert TYPE.fullmatch(part.content_type)
        assert part.path.count(".") <= limits.depth
        assert parsed.part(part.path) is part
        assert not CONTROL.search(part.filename + part.content_id + part.disposition + (part.charset or ""))


def check_names(parsed: ParsedMessage) -> None:
    names = [attachment.filename for attachment in parsed.attachments]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name.isprintable()
        assert 0 < len(name.encode()) <= 255
        assert not set('/\\<>:"|?*') & set(name), name
        assert name[0] not in ".-~ ", name
        assert name[-1] not in ". ", name
