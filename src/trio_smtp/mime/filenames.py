"""Safe file names, made from the names that a sender wrote.

A safe name is one path component on every common system: no folder, no hidden file, no command option, no Windows
device, and no characters that make the name look like another one to a terminal or a reader (RFC 2183 §5).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["FileNames", "numbered"]

_LONGEST: Final = 200  # octets of UTF-8; file systems take 255
_LONGEST_SUFFIX: Final = 20
_NOT_EVERYWHERE = re.compile(  # forbidden on Windows, or looks like a slash or a backslash
    '[<>:"|?*\u2044\u2215\u2216\u2571\u2572\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c]'
)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\s*\..*)?", re.IGNORECASE)

_SUFFIXES: Final = {
    "application/json": ".json",
    "application/ms-tnef": ".dat",
    "application/pdf": ".pdf",
    "application/pgp-signature": ".asc",
    "application/pkcs7-mime": ".p7m",
    "application/pkcs7-signature": ".p7s",
    "application/x-pkcs7-mime": ".p7m",
    "application/x-pkcs7-signature": ".p7s",
    "application/zip": ".zip",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
    "message/delivery-status": ".txt",
    "message/disposition-notification": ".txt",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/rfc822-headers": ".txt",
    "text/vcard": ".vcf",
}


class FileNames:
    """Gives the attachments of one message their names, which differ even on a case-insensitive file system."""

    def __init__(self) -> None:
        self._taken = set[str]()
        self._next: dict[str, int] = {}
        self._given = 0

    def give(self, name: str, content_type: str) -> str:
        """A safe name that differs from all those given before.

        Args:
            name: as the sender wrote it. If nothing of it can be kept, the result is a name such as
                ``attachment-1.pdf``.
            content_type: decides the suffix of such a name.
        """
        self._given += 1
        name = _safe(name) or f"attachment-{self._given}{_SUFFIXES.get(content_type, '.bin')}"
        unique, key = name, _key(name)
        number = self._next.get(key, 1)
        while _key(unique) in self._taken:
            unique = numbered(name, number)
            number += 1
        self._next[key] = number
        self._taken.add(_key(unique))
        return unique


def numbered(name: str, number: int) -> str:
    """The name with a number before its suffix: ``photo-1.jpg``."""
    stem, suffix = _split(name)
    return f"{stem}-{number}{suffix}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _safe(name: str) -> str:
    name = re.split(r"[/\\]", name.rstrip("/\\ "))[-1]
    words = ("".join(filter(str.isprintable, word)) for word in name.split())
    name = " ".join(filter(None, words))
    stem, suffix = _split(name.lstrip(".-~ "))
    # Also cut before normalizing, which takes quadratic time for a long run of combining characters.
    name = unicodedata.normalize("NFC", stem[: 4 * _LONGEST] + suffix)
    name = _NOT_EVERYWHERE.sub("_", name).rstrip(". ")
    if _DEVICE.fullmatch(name):
        name = "_" + name
    stem, suffix = _split(name)
    return _cut(stem, _LONGEST - len(suffix.encode())).rstrip(". ") + suffix


def _split(name: str) -> tuple[str, str]:
    """Split a name into stem and suffix. A suffix that is too long or contains a space belongs to the stem."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _LONGEST_SUFFIX or " " in suffix:
        return name, ""
    return stem, dot + suffix


def _cut(text: str, octets: int) -> str:
    return text.encode()[:octets].decode(errors="ignore")
