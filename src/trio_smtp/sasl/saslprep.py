"""SASLprep (RFC 4013): a form in which names and passwords compare equal, however the keyboard composes characters.

Code points that are unassigned in Unicode 3.2, the version of stringprep, are kept as they are (a "query" in RFC 3454
§7). People use newer characters in passwords, and stored and entered passwords are prepared in the same way.
"""

from __future__ import annotations

import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

__all__ = ["saslprep"]

_PROHIBITED: Final = (  # RFC 4013 §2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str | None:
    """The prepared text, which may be empty; None if it has a prohibited character or mixes directions."""
    if text.isascii():
        return text if text.isprintable() else None
    mapped = "".join(  # RFC 4013 §2.1
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(character) for character in prepared for prohibited in _PROHIBITED):
        return None
    return prepared if _is_of_one_direction(prepared) else None


def _is_of_one_direction(text: str) -> bool:
    """RFC 3454 §6: a text with a right-to-left character begins and ends with one and has no left-to-right one."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))
