"""Builders of multipart messages for the tests."""

from __future__ import annotations


def body(content_type: str, *parts: bytes) -> bytes:
    """Return a message that is a multipart with the boundary x."""
    return f"Content-Type: {content_type}; boundary=x\r\n\r\n".encode() + delimited(*parts)


def delimited(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def nested(depth: int) -> bytes:
    """Return so many multiparts, each the first part of the one before it."""
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
