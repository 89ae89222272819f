"""The comparison of instruction counts with the recorded ones, and the dialogues of the core that are counted."""

from __future__ import annotations

import json

import pytest

from bench import core
from bench.instructions import RECORD, compare


@pytest.mark.parametrize(("figure", "sentences"), [(949, 1), (950, 0), (1000, 0), (1050, 0), (1051, 1)])
def test_five_percent_either_way(figure: int, sentences: int) -> None:
    assert len(list(compare({"a": figure}, {"a": 1000}))) == sentences


def test_a_figure_that_nobody_recorded_is_named() -> None:
    assert "no figure" in next(compare({"a": 1}, {}))


def test_every_shape_is_recorded() -> None:
    for recorded in json.loads(RECORD.read_text()).values():
        assert recorded["instructions"].keys() == core.READS.keys()


@pytest.mark.parametrize(("size", "recipients"), [(1024, 1), (102_400, 1), (1024, 100)])
def test_the_messages_of_the_core(size: int, recipients: int) -> None:
    assert len(core.content(size)) == size
    replies = b"".join(
        core.drive(connection, data) for connection in [core.opened()] for data in core.pipelined(size, recipients)
    )
    assert [line[:3] for line in replies.splitlines()] == [b"250"] * (2 + recipients) + [b"354"]
