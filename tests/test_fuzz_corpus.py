"""The fuzz targets without a fuzzer: every input of the corpus, every old crasher, and inputs drawn by Hypothesis."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from fuzz.scenario import HEADER
from fuzz.targets import TARGETS

HERE = Path(next(iter(fuzz.__path__)))
INPUTS = sorted(path for folder in ("corpus", "crashers") for path in (HERE / folder).rglob("*") if path.is_file())
VOCABULARY = [
    word.encode("latin-1").decode("unicode-escape").encode("latin-1")
    for word in re.findall(r'^"(.*)"$', (HERE / "smtp.dict").read_text("ascii"), re.MULTILINE)
]

# To reach most of the code, an input needs a header that sets up the server, and words of the protocol.
inputs = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda header, words: header + b"".join(words),
        st.just(bytes(HEADER)) | st.binary(max_size=HEADER),
        st.lists(st.sampled_from(VOCABULARY) | st.binary(max_size=3), max_size=30),
    ),
)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: "-".join(path.relative_to(HERE).parts))
def test_inputs_that_are_kept(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@given(data=inputs)
def test_inputs_that_are_drawn(target: str, data: bytes) -> None:
    TARGETS[target](data)


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in (HERE / "corpus").iterdir()} == TARGETS.keys()
