"""File names of attachments: safe in any file system, and different from each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mime.filenames import FileNames, numbered


def given_name(name: str, content_type: str = "application/pdf") -> str:
    return FileNames().give(name, content_type)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Jahresübersicht 2026 (final).pdf", "Jahresübersicht 2026 (final).pdf"),
        ("u\u0308.pdf", "ü.pdf"),  # NFC
        ("日本.pdf", "日本.pdf"),
        ("📧.pdf", "📧.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\a.doc", "a.doc"),
        ("C:a.doc", "C_a.doc"),
        ("folder/", "folder"),
        ("folder\\ ", "folder"),
        ("a\u2044b\uff0fc", "a_b_c"),
        ("a\u2571b\u29f8c\u2215d", "a_b_c_d"),
        ("a\u2216b\u2572c\u29f5d\u29f9e\ufe68f\uff3cg", "a_b_c_d_e_f_g"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("~root", "root"),
        (" . a . ", "a"),
        ("a\r\n\0\x1b[2Jb.txt", "a [2Jb.txt"),
        ("a \0 b\n\x1b\n.txt", "a b.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\u200bb\ufeffc\ud800d", "abcd"),
        ("a\u00a0b\u2028c", "a b c"),
        ('<a>:"b"|?*.txt', "_a___b____.txt"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("nul .tar.gz", "_nul .tar.gz"),
        ("COM1", "_COM1"),
        ("lpt²", "_lpt²"),
        ("conx", "conx"),
        ("a" * 500 + ".pdf", "a" * 196 + ".pdf"),
        ("ä" * 500 + ".pdf", "ä" * 98 + ".pdf"),
        ("a." + "b" * 500, "a." + "b" * 198),
        ("a" * 195 + ". ." + "b" * 5, "a" * 194 + ".bbbbb"),
        ("." * 2_000 + "a.pdf", "a.pdf"),
        ("a" + "\u0300\u0327" * 200_000 + ".pdf", "\xe0" + "\u0327" * 97 + ".pdf"),  # and in a short time
        ("", "attachment-1.pdf"),
        ("...", "attachment-1.pdf"),
        ("/", "attachment-1.pdf"),
        ("\u202e\u200b", "attachment-1.pdf"),
    ],
)
def test_names(name: str, safe: str) -> None:
    assert given_name(name) == safe


DEVICES = ["con", "prn", "aux", "nul", "conin$", "conout$"]


@pytest.mark.parametrize(
    "device", [*DEVICES, *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³")]
)
def test_names_of_devices(device: str) -> None:
    assert given_name(f"{device}.txt") == f"_{device}.txt"
    assert given_name(f"{device[:-1]}.txt") == f"{device[:-1]}.txt"
    assert given_name(f"{device}:") == f"{device}_"


def test_a_type_without_a_usual_suffix() -> None:
    assert given_name("", "x/y") == "attachment-1.bin"


def test_every_name_is_another() -> None:
    names = FileNames()
    wanted = ["a.pdf", "A.PDF", "a.pdf", "a-1.pdf", "", "attachment-5.pdf", "straße", "STRASSE"]
    assert [names.give(name, "application/pdf") for name in wanted] == [
        "a.pdf", "A-1.PDF", "a-2.pdf", "a-1-1.pdf", "attachment-5.pdf", "attachment-5-1.pdf", "straße", "STRASSE-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.pdf", "a-2.pdf"),
        ("a", "a-2"),
        ("a.tar.gz", "a.tar-2.gz"),
        ("Mr. Smith", "Mr. Smith-2"),
        (".x", ".x-2"),
        ("a." + "b" * 20, "a-2." + "b" * 20),
        ("a." + "b" * 21, "a." + "b" * 21 + "-2"),
    ],
)
def test_numbered(name: str, expected: str) -> None:
    assert numbered(name, 2) == expected


@given(st.lists(st.text(max_size=10) | st.sampled_from(["a", "A", "a-1", "a.b", ".", "con", "nul.", "ｃｏｎ"])))
def test_any_names(wanted: list[str]) -> None:
    names = FileNames()
    made = [names.give(name, "a/b") for name in wanted]
    assert len({name.casefold() for name in made}) == len(made)
    for name in made:
        assert given_name(name) == name  # a safe name is not changed again
