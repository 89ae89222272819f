"""``trio-smtp store``: info, check, repair, quarantine and compact, with and without damage."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.cli.tools import Result, Terminal
from tests.forked import FORKED
from trio_smtp.cli import main, store
from trio_smtp.mailbox.store import MailStore

Run = Callable[..., Result]

SEGMENT = "journal/000001.jsonl"
LOST = "damage in 1 place, with 1 unreadable message"


@pytest.fixture(autouse=True)
def account(prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(mail: MailStore) -> None:
        await mail.create_account("demo")
        await mail.create_mailbox("demo", "\u202eLists")
        await mail.append_message("demo", "INBOX", b"1")
        await mail.append_message("demo", "\u202eLists", b"2" * 300_000)

    prepare(fill)


@pytest.fixture
def damage(folder: Path) -> Path:
    """Damage the file of a body and return its path."""
    [blob] = (folder / "mail/blobs").iterdir()
    blob.write_bytes(b"3" * 300_000)
    return blob


def test_info(run: Run) -> None:
    [info] = run("store", "info", "--json").records
    assert (info["path"], info["format"], info["messages"], info["blobs"]) == ("mail", "json", 2, 1)
    lines = run("store", "info").lines
    assert lines[0] == "path:         mail"
    assert [line.partition(":")[0] for line in lines] == list(info)


@pytest.mark.parametrize("action", ["info", "check", "repair", "quarantine", "compact"])
def test_no_store(run: Run, folder: Path, action: str) -> None:
    run("store", action, "--store", "json:none").fails(1, "cannot use the store json:none: no such file or directory")
    assert not (folder / "none").exists()
    (folder / "empty").mkdir(mode=0o700)
    run("store", action, "--store", "json:empty").fails(1, "json:empty: there is no store")


def test_a_store_that_has_lost_its_manifest(run: Run, folder: Path) -> None:
    (folder / "mail/manifest.json").unlink()
    for command in ("store check", "store repair --yes", "account list", "account add eve --address eve@example.com"):
        run(*command.split()).fails(1, "json:mail: the directory contains mail but no manifest.json", "from a backup")


def test_check(run: Run, folder: Path) -> None:
    assert run("store", "check") == (0, b"5 records and 2 messages read.\n", "")
    (folder / "mail/blobs/left-over").touch()
    assert run("store", "check").lines == ["5 records and 2 messages read; 1 unneeded blob."]
    assert run("store", "check", "--json").records == [{"records": 5, "messages": 2, "unneeded": 1, "faults": []}]


def test_check_finds_damage(run: Run, damage: Path) -> None:
    code, out, err = run("store", "check")
    first, last = out.decode().splitlines()
    assert first.startswith(f"{SEGMENT} at ")
    assert first.endswith(rf" octets: blob {damage.name} is damaged (demo \u202eLists 1)")
    assert last == "5 records and 2 messages read."
    assert (code, err) == (1, f"trio-smtp: {LOST}; trio-smtp store repair moves the damaged files to quarantine\n")
    code, out, _ = result = run("store", "check", "--json")
    [fault] = result.records[0]["faults"]
    assert code == 1
    assert (fault["file"], fault["messages"]) == (
        SEGMENT,
        [{"account": "demo", "mailbox": "\u202eLists", "uid": 1}],
    )


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"YES\n", 0), (b"n\n", 1), (b"", 1)])
def test_repair_asks(run: Run, damage: Path, answer: bytes, code: int) -> None:
    result = run("store", "repair", stdin=answer, terminal=True)
    assert result.code == code
    assert result.err.startswith("D" + LOST[1:] + ". Move the damaged files to quarantine? [y/N] ")
    assert damage.exists() is (code == 1)
    assert result.err.endswith("nothing was changed\n") is (code == 1)


def test_repair_has_nobody_to_ask(run: Run, damage: Path) -> None:
    code, out, err = run("store", "repair")
    assert (code, out.count(b"\n")) == (2, 1)
    assert err == f"trio-smtp: {LOST}; add --yes to move the damaged files to quarantine\n"
    assert damage.exists()


def test_repair(run: Run, damage: Path, folder: Path) -> None:
    assert run("store", "repair", "--yes").lines[1:] == ["Repaired; 2 files moved to quarantine."]
    assert run("store", "repair") == (0, b"No damage found.\n", "")
    assert run("store", "check").code == 0
    assert [each["messages"] for each in run("mailbox", "list", "demo", "--json").records] == [1, 0]

    listed = run("store", "quarantine", "--json").records
    assert {"name": damage.name, "octets": 300_000} in listed
    assert run("store", "quarantine").lines[0] == "OCTETS  NAME"
    assert run("store", "quarantine", "--output", "copies").lines == ["2 files copied to copies."]
    assert (folder / "copies" / damage.name).read_bytes() == b"3" * 300_000
    run("store", "quarantine", "--output", "copies").fails(1, "cannot copy to copies: file exists", "--output")
    assert run("store", "quarantine", "--output", "more", "--json").records == listed


@pytest.mark.usefixtures("damage")
def test_a_fault_leaves_no_half_of_a_quarantine(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("store", "repair", "--yes").code == 0
    monkeypatch.setattr(store, "export_quarantine", _copy_half(lambda: _fail(errno.ENOSPC)))
    run("store", "quarantine", "--output", "copies").fails(1, "cannot copy to copies: no space left on device")
    assert os.listdir() == ["mail"]
    process = FORKED.Process(target=_copy_until, args=(signal.SIGTERM, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert os.listdir() == ["mail"]


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _copy_half(end: Callable[[], None]) -> Callable[[Path, Path], None]:
    def export_quarantine(_: Path, output: Path) -> None:
        (output / "000001.jsonl").touch()
        end()

    return export_quarantine


def _copy_until(number: signal.Signals, folder: Path) -> None:
    os.chdir(folder)
    with mock.patch.object(store, "export_quarantine", _copy_half(lambda: signal.raise_signal(number))):
        main(["store", "quarantine", "--output", "copies"])


def test_repair_as_json(run: Run, damage: Path) -> None:
    [repaired] = run("store", "repair", "--yes", "--json").records
    assert len(repaired["faults"]) == 1
    assert repaired["quarantined"] == ["000001.jsonl", damage.name]
    assert run("store", "repair", "--json").records == [{"faults": [], "quarantined": []}]


def test_compact(run: Run) -> None:
    [first] = run("store", "compact", "--json").records
    assert first["before"] > 300_000
    assert run("mail", "delete", "demo", "1", "--mailbox", "\u202eLists").code == 0
    [second] = run("store", "compact", "--json").records
    assert second["after"] < 300_000
    assert run("store", "compact").lines[0].startswith(f"{second['after']} octets before, ")


def test_a_small_store_grows(run: Run) -> None:
    store = ("--store", "json:new")
    assert run("account", "add", "ann", "--address", "ann@example.com", *store).code == 0
    assert run("mail", "import", "ann", "-", "--format=eml", *store, stdin=b"x").code == 0
    assert run("mail", "delete", "ann", "1", *store).code == 0
    [line] = run("store", "compact", *store).lines
    assert line.endswith(" now. The deleted mail is gone, but the new index is larger than that.")
    assert run("store", "info", *store, "--json").records[0]["dead"] == 0


@pytest.mark.parametrize(("action", "what"), [("check", "Checking"), ("compact", "Compacting")])
def test_progress(run: Run, monkeypatch: pytest.MonkeyPatch, action: str, what: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert run("store", action).code == 0
    assert terminal.getvalue().startswith(f"\r{what} [")
