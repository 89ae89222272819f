"""Hypothesis strategies for messages: trees of parts as a correct sender writes them, and damaged ones."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st


@dataclass(frozen=True)
class Node:
    content_type: str
    content: bytes = b""
    encoding: str = "binary"
    filename: str = ""
    children: tuple[Node, ...] = ()

    @property
    def is_multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    def write(self, number: str = "") -> bytes:
        """Return the header and body. `number` makes the boundary of each multipart unique."""
        header = f"Content-Type: {self.content_type}"
        if self.is_multipart:
            boundary = f"=_boundary{number}_="
            body = b"".join(
                b"--%b\r\n%b\r\n" % (boundary.encode(), child.write(f"{number}_{at}"))
                for at, child in enumerate(self.children)
            )
            return f'{header};\r\n\tboundary="{boundary}"\r\n\r\n'.encode() + body + f"--{boundary}--\r\n".encode()
        if self.content_type == "message/rfc822":
            return f"{header}\r\n\r\n".encode() + self.children[0].write(f"{number}_m")
        if self.filename:
            header += f"\r\nContent-Disposition: attachment;\r\n filename*=utf-8''{quote(self.filename, safe='')}"
        return f"{header}\r\nContent-Transfer-Encoding: {self.encoding}\r\n\r\n".encode() + self.encoded()

    def encoded(self) -> bytes:
        if self.encoding == "base64":
            return base64.encodebytes(self.content).replace(b"\n", b"\r\n")
        if self.encoding == "quoted-printable":
            return binascii.b2a_qp(self.content, istext=False)
        return self.content

    def parts(self, prefix: str = "", *, is_message: bool = True, number: int = 1) -> Iterator[tuple[str, Node]]:
        """Yield every part with its section number (RFC 9051 §6.4.5)."""
        path = f"{prefix}TEXT" if is_message and self.is_multipart else f"{prefix}{number}"
        yield path, self
        if self.is_multipart:
            inner = prefix if is_message else f"{path}."
            for at, child in enumerate(self.children, 1):
                yield from child.parts(inner, is_message=False, number=at)
        elif self.children:
            yield from self.children[0].parts(f"{path}.")


FILENAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs", "Cc", "Cf"]), max_size=12)
LEAVES = st.builds(
    Node,
    st.sampled_from(["text/plain", "text/html", "image/png", "application/octet-stream"]),
    st.binary(max_size=100),
    st.sampled_from(["base64", "quoted-printable", "binary"]),
    FILENAMES,
)
TREES = st.recursive(
    LEAVES,
    lambda nodes: st.one_of(
        st.builds(
            lambda subtype, children: Node(f"multipart/{subtype}", children=tuple(children)),
            st.sampled_from(["mixed", "alternative", "related", "unheard-of"]),
            st.lists(nodes, min_size=1, max_size=3),
        ),
        st.builds(lambda child: Node("message/rfc822", children=(child,)), nodes),
    ),
    max_leaves=6,
)

WORDS = st.sampled_from(
    [
        b"Content-Type: ", b"multipart/mixed", b"multipart/alternative", b"; boundary=", b'"', b"x", b"message/rfc822",
        b"text/plain", b"text/html", b"; charset=", b"utf-7", b"iso-2022-jp", b"idna", b"\r\n", b"\r\n\r\n", b"\n",
        b"\r", b"--x", b"--x--", b"\r\n--x\r\n", b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"=3D",
        b"=", b"AAAA", b"Content-Disposition: ", b"attachment", b"; filename", b"*0", b"*=", b"''", b"%2F", b"../",
        b"=?utf-8?b?", b"?=", b"To: ", b"From: ", b"Date: ", b"Mon, 23 Nov 2026 12:00:00 +0000", b"<", b">", b",", b":",
        b";", b"(", b")", b"@", b"\\", b"\0", b"\x1b", b"\xff", "ü".encode(), b" ", b"\t", b"References: ",
        b"Content-ID: ", b"Sender: a",
    ]
)  # fmt: skip
PIECES = st.one_of(st.lists(WORDS, max_size=12).map(b"".join), st.binary(max_size=5))


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Draw a correct message in which pieces are removed, inserted or replaced; or random pieces only."""
    content = draw(st.one_of(TREES.map(Node.write), st.just(b"")))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        other = draw(
            st.one_of(st.lists(WORDS, max_size=12).map(b"".join), st.binary(max_size=5), st.just(content[:80]))
        )
        content = content[:start] + other + content[end:]
    return content
