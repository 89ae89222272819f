"""Every RFC, and every section of one, that the project cites exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trio_smtp

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDERS = [Path(trio_smtp.__file__).parent, HERE, ROOT / "docs", ROOT / "fuzz", ROOT / "bench"]
FILES = [
    path
    for paths in (sorted(ROOT.glob("*")), *(sorted(folder.rglob("*")) for folder in FOLDERS))
    for path in paths
    if path.suffix in {".py", ".md", ".c"} and path.resolve() != Path(__file__).resolve()
]

CITATION = re.compile(r"RFC\s+(\d+)(?:,?\s*§\s*([0-9A-Z.]*[0-9A-Z]))?")


def known_sections() -> dict[str, set[str]]:
    blocks = (HERE / "rfcs.txt").read_text().split("\n\n")[1:]
    return {block.split()[0]: set(block.split("\n", 1)[1].split()) for block in blocks}


SECTIONS = known_sections()


def exists(rfc: str, section: str | None) -> bool:
    known = SECTIONS.get(rfc, set())
    return bool(known) and (section is None or known == {"*"} or section in known)


def test_citations_exist() -> None:
    wrong = [
        f"{path}:{text.count(chr(10), 0, citation.start()) + 1}: {citation[0]}"
        for path in FILES
        for text in [path.read_text()]
        for citation in CITATION.finditer(text)
        if not exists(*citation.groups())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("RFC 5321 §4.5.2.", ("5321", "4.5.2")),
        ("RFC 5321, § F.2", ("5321", "F.2")),
        ("RFC 2920", ("2920", None)),
        ("as RFC\n    3207 §4 says", ("3207", "4")),
    ],
)
def test_what_counts_as_a_citation(text: str, cited: tuple[str, str | None]) -> None:
    citation = CITATION.search(text)
    assert citation is not None
    assert citation.groups() == cited


@pytest.mark.parametrize(
    ("rfc", "section", "expected"),
    [
        ("5321", "4.5.3.1.10", True),
        ("5321", None, True),
        ("5321", "4.5.4.9", False),
        ("9051", "1.1", True),
        ("9999", None, False),
    ],
)
def test_what_exists(rfc: str, section: str | None, expected: bool) -> None:
    assert exists(rfc, section) is expected
