"""The messages that every client sends, in lines that end in CRLF."""

from __future__ import annotations

import base64

HEADER = (
    b"From: Sender <sender@example.com>\r\n"
    b"To: Demo <demo@example.com>\r\n"
    b"Subject: interop\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
    b"Message-ID: <interop@client.example>\r\n"
    b"MIME-Version: 1.0\r\n"
)

PLAIN = HEADER + b"Content-Type: text/plain\r\n\r\nHello,\r\n\r\nworld.\r\n"

HTML = (
    HEADER
    + b'Content-Type: multipart/alternative; boundary="=-part"\r\n\r\n'
    + b"--=-part\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
    + b'--=-part\r\nContent-Type: text/html; charset="utf-8"\r\n\r\n'
    + b'<!DOCTYPE html>\r\n<p style="color: #c00">Hello &amp; good bye</p>\t \r\n'
    + b"--=-part--\r\n"
)

EIGHT_BIT = (
    HEADER
    + b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + b"".join(bytes(range(first, first + 32)) + b"\r\n" for first in (0x80, 0xA0, 0xC0, 0xE0))
)

DOTTED = (
    HEADER
    + b"Content-Type: text/plain\r\n\r\n"
    + b".\r\n..\r\n...\r\n.leading\r\n..two\r\ntrailing.\r\n\r\n.\r\n\r\n. \r\n"
    + b"." * 900
    + b"\r\n.\r\n"
)

LARGE = (
    HEADER
    + b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(bytes(range(256)) * 60_000).replace(b"\n", b"\r\n")
)

MESSAGES = {
    "plain": PLAIN,
    "html": HTML,
    "8-bit": EIGHT_BIT,
    "dotted": DOTTED,
    "empty": b"",
    "20 MB": LARGE,
}
