"""Names of charsets that occur in mail."""

from __future__ import annotations

CHARSETS = (
    "utf-8", "utf8", "UTF-8", "utf-7", "utf-16", "utf-16le", "us-ascii", "ascii", "iso-8859-1",
    "ISO-8859-15", "iso-8859-16", "iso8859-2", "latin-1", "latin1", "windows-1250", "windows-1258",
    "cp1252", "cp437", "cp850", "cp866", "cp874", "cp932", "cp949", "cp950", "koi8-r", "koi8-u", "gb2312",
    "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-2022-jp", "iso-2022-kr",
    "ks_c_5601-1987", "tis-620", "ansi_x3.4-1968", "iso_8859-1", "iso_8859-15", "cp936", "macintosh",
    "hz-gb-2312", "big5-hkscs", "csISO2022JP", "sjis", "iso-2022-jp-1", "iso-2022-jp-2",
)  # fmt: skip

NO_CODECS = (  # names that Python does not know
    "iso-8859-6-e", "iso-8859-6-i", "iso-8859-8-e", "ISO-8859-8-I", "windows-31j", "windows-874", "windows-949",
    "x-sjis", "unknown-8bit", "x-unknown",
)  # fmt: skip
