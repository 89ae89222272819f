"""Properties of `parse`: correct messages give the parts that were written, and broken ones do not make it raise."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.mime import SMALL, check
from tests.mime.messages import TREES, WORDS, Node, broken
from trio_smtp.mime import MimeLimits, parse
from trio_smtp.mime.addresses import read_addresses


@given(TREES)
def test_what_is_written_is_found(message: Node) -> None:
    parsed = parse(message.write())
    found = {part.path: part for part in parsed.tree.walk()}
    expected = dict(message.parts())
    assert list(found) == list(expected)
    for path, node in expected.items():
        assert found[path].content_type == node.content_type
        assert len(found[path].children) == len(node.children)
        if not node.children:
            assert found[path].content == node.content
    texts = (": it contains", ": the text")  # defects of text parts, whose octets are random
    assert not [defect for defect in parsed.defects if not any(text in defect for text in texts)]


@given(TREES)
def test_every_part_is_text_or_attached(message: Node) -> None:
    parsed = parse(message.write())
    leaves = [part for part in outer(message) if not part.is_multipart]
    attached = [attachment.part.path for attachment in parsed.attachments]
    assert len(attached) == len(set(attached))
    named = [part for part in leaves if part.filename.strip() or part.content_type not in {"text/plain", "text/html"}]
    assert len(named) <= len(attached) <= len(leaves)
    if parsed.text is None and parsed.html is None:
        assert len(attached) == len(leaves)


def outer(node: Node) -> list[Node]:
    """Return the parts that are not inside attached messages."""
    inner = [part for child in node.children for part in outer(child)] if node.is_multipart else []
    return [node, *inner]


@given(broken(), st.sampled_from([MimeLimits(), SMALL]))
@example(b"", MimeLimits())
@example(b"\r\n", MimeLimits())
def test_broken_messages(content: bytes, limits: MimeLimits) -> None:
    check(parse(content, limits), content, limits)


@given(st.lists(st.one_of(WORDS, st.text(max_size=5).map(str.encode)), max_size=20).map(b"".join))
def test_any_address_field(value: bytes) -> None:
    for address in filter(None, read_addresses(value)):
        assert address.name or address.address
        assert str(address)
