"""Export and import: an import of an export gives the same messages, octet for octet, and each only once."""

from __future__ import annotations

import base64
import errno
import mailbox
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.cli.tools import Result, Terminal
from tests.forked import FORKED
from trio_smtp.cli import export, import_, main, messages, progress
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.mbox import to_mbox
from trio_smtp.mailbox.store import MailStore, NoSuchMessage
from trio_smtp.testing.store_contract.tools import CONTENTS

Run = Callable[..., Result]
Prepare = Callable[[Callable[[MailStore], Awaitable[object]]], None]

DATE = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
ALL = [*(content for name, content in CONTENTS.items() if name != "large"), CONTENTS["usual"]]  # one twice
FLAGS = ["\\Seen", "\\Draft"]
FORMS = ["mbox", "maildir", "eml"]


@pytest.fixture(autouse=True)
def mailboxes(prepare: Prepare) -> None:
    async def fill(store: MailStore) -> None:
        for account in ("demo", "other"):
            await store.create_account(account)
        for content in ALL:
            await store.append_message("demo", "INBOX", content, flags=FLAGS, internal_date=DATE)

    prepare(fill)


def held(run: Run, account: str) -> list[tuple[bytes, str, list[str]]]:
    """Return the messages of an account, sorted."""
    uids = [str(each["uid"]) for each in run("mail", "list", account, "--json").records]
    records: list[dict[str, Any]] = run("mail", "show", account, *uids, "--json").records if uids else []
    return sorted((base64.b64decode(each["raw"]), each["date"], each["flags"]) for each in records)


def kept(form: str, held: list[tuple[bytes, str, list[str]]]) -> list[tuple[bytes, str, list[str]]]:
    """Return the messages as they are in an export of this form: .eml files have no flags."""
    return sorted((content, date, [] if form == "eml" else flags) for content, date, flags in held)


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(run: Run, form: str) -> None:
    before = held(run, "demo")
    assert len(before) == len(ALL)
    assert run("mail", "export", "demo", "--format", form, "--output", "out").lines == ["12 messages written to out."]
    assert run("mail", "import", "other", "out").lines == ["12 messages imported, 0 already in the mailbox."]
    assert held(run, "other") == kept(form, before)
    assert run("mail", "import", "other", "out").lines == ["0 messages imported, 12 already in the mailbox."]
    assert run("mail", "import", "demo", "out", "out").lines == ["12 messages imported, 12 already in the mailbox."]
    assert held(run, "other") == kept(form, before)


def test_through_a_pipe(run: Run) -> None:
    exported = run("mail", "export", "demo")
    assert exported.out == b"".join(to_mbox(content, DATE, FLAGS) for content in ALL)
    assert exported.err == ""
    assert run("mail", "export", "demo", "--output", "-").out == exported.out
    assert run("mail", "import", "other", "-", stdin=exported.out).out.startswith(b"12 messages imported")
    assert held(run, "other") == held(run, "demo")


def test_some_of_them(run: Run) -> None:
    result = run("mail", "export", "demo", "--output", "out.mbox", "2", "1", "2", "--json")
    assert result.records == [{"messages": 2, "output": "out.mbox"}]
    imported = run("mail", "import", "other", "out.mbox", "--json").records
    usual = len(CONTENTS["usual"])
    assert imported == [
        {"uid": 1, "size": usual, "source": "out.mbox"},
        {"uid": 2, "size": 0, "source": "out.mbox"},
    ]
    again = run("mail", "import", "other", "out.mbox", "--json").records
    assert [each["uid"] for each in again] == [None, None]
    run("mail", "export", "demo", "1", "99").fails(1, "no message 99")


@pytest.mark.parametrize("size", [1, 11, 12, 13])
def test_page_by_page(run: Run, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (messages, import_):
        monkeypatch.setattr(module, "_PAGE", size)
    assert run("mail", "export", "demo", "--output", "out").code == 0
    assert run("mail", "import", "demo", "out").lines == ["0 messages imported, 12 already in the mailbox."]


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_mailbox(run: Run, folder: Path, form: str) -> None:
    assert run("mail", "export", "other", "--format", form, "--output", "out").lines == ["0 messages written to out."]
    assert (folder / "out").exists()
    assert run("mail", "import", "other", "out").lines == ["0 messages imported, 0 already in the mailbox."]


def test_the_standard_library_reads_it(run: Run, folder: Path) -> None:
    run("mail", "export", "demo", "--output", "mbox")
    run("mail", "export", "demo", "--format", "maildir", "--output", "maildir")
    mbox = mailbox.mbox(folder / "mbox", create=False)
    maildir = mailbox.Maildir(folder / "maildir", create=False)
    try:
        assert len(mbox) == len(maildir) == 12
        assert [message["subject"] for message in mbox].count("hello") == 3
        assert {message.get_flags() for message in maildir} == {"DS"}
        assert {int(message.get_date()) for message in maildir} == {int(DATE.timestamp())}
    finally:
        mbox.close()
        maildir.close()


def test_modes(run: Run, folder: Path) -> None:
    run("mail", "export", "demo", "--output", "mbox")
    run("mail", "export", "demo", "--format", "eml", "--output", "eml")
    assert [(folder / name).stat().st_mode & 0o777 for name in ("mbox", "eml")] == [0o600, 0o700]


# --- what is there already


def test_nothing_is_overwritten_unless_asked_for(run: Run, folder: Path) -> None:
    (folder / "out").write_text("precious")
    for form in FORMS:
        advice = "add --overwrite, or choose another" if form == "mbox" else "choose another"
        run("mail", "export", "demo", "--format", form, "--output", "out").fails(1, f"out already exists; {advice}")
    assert (folder / "out").read_text() == "precious"
    assert run("mail", "export", "demo", "1", "--output", "out", "--overwrite").code == 0
    assert (folder / "out").read_bytes() == to_mbox(b"", DATE, FLAGS)
    assert sorted(path.name for path in folder.iterdir()) == ["mail", "out"]


def test_what_is_no_file_is_not_replaced(run: Run, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "out").mkdir()
    for name in ("pipe", "out"):
        for flags in ([], ["--overwrite"]):  # which would not help
            run("mail", "export", "demo", "--output", name, *flags).fails(1, f"{name} is not a regular file")
    assert (folder / "pipe").is_fifo()


def test_a_message_that_comes_meanwhile(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_yet(*_: object) -> int:
        return 0

    monkeypatch.setattr(JSONFileStore, "count_messages", none_yet)
    assert run("mail", "export", "demo", "--output", "out").lines == ["12 messages written to out."]


def test_an_empty_path_is_not_this_folder(run: Run, folder: Path) -> None:
    (folder / "letter.eml").write_bytes(b"Subject: not asked for\r\n\r\n")
    run("mail", "import", "other", "").fails(2, "PATH: the path is empty")
    run("mail", "export", "demo", "--format", "eml", "--output", "").fails(2, "--output: the path is empty")
    run("mail", "show", "demo", "1", "--save-attachments", "").fails(2, "--save-attachments: the path is empty")


@pytest.mark.parametrize("form", ["maildir", "eml"])
def test_folders(run: Run, folder: Path, form: str) -> None:
    (folder / "out").mkdir()
    assert run("mail", "export", "demo", "--format", form, "--output", "out").code == 0
    run("mail", "export", "demo", "--format", form, "--output", "out").fails(1, "out already exists")
    run("mail", "export", "demo", "--format", form, "--output", "x", "--overwrite").fails(2, "--overwrite")


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_leaves_nothing(run: Run, folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def sync(file: object) -> None:
        calls.append(file)
        if form == "mbox" or len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_sync", sync)
    run("mail", "export", "demo", "--format", form, "--output", "out").fails(1, "cannot write out: no space left")
    assert [path.name for path in folder.iterdir()] == ["mail"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("form", FORMS)
def test_a_signal_leaves_nothing(folder: Path, form: str, number: signal.Signals) -> None:
    process = FORKED.Process(target=_export_until, args=(number, folder, form))
    process.start()
    process.join()
    assert process.exitcode == -number
    assert os.listdir() == ["mail"]


def _export_until(number: signal.Signals, folder: Path, form: str) -> None:
    """Export in this process, and send it a signal when it has written a message."""
    os.chdir(folder)

    def advance(share: float) -> None:
        assert len(os.listdir()) == 2  # the store and a temporary name
        signal.raise_signal(number)

    with mock.patch.object(export, "progress", return_value=nullcontext(advance)):
        main(["mail", "export", "demo", "--format", form, "--output", "out"])


def test_an_ignored_signal_ends_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "progress", lambda _: nullcontext(lambda _: signal.raise_signal(signal.SIGHUP)))
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run("mail", "export", "demo", "--output", "out").lines == ["12 messages written to out."]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(("form", "folders"), [("mbox", ["."]), ("maildir", ["cur", "", "."]), ("eml", ["", "."])])
def test_what_is_complete_is_on_disk(
    run: Run, folder: Path, form: str, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of the files are synced before the output gets its own name, and then that name is."""
    synced: list[str] = []

    def record(path: Path) -> None:
        is_last = path.samefile(folder)
        assert (folder / "out").exists() == is_last
        synced.append("." if is_last else "" if path.parent.samefile(folder) else path.name)
        sync(path)

    sync = export._sync_folder
    monkeypatch.setattr(export, "_sync_folder", record)
    assert run("mail", "export", "demo", "1", "--format", form, "--output", "out").code == 0
    assert synced == folders


def test_a_folder_that_cannot_be_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems cannot sync a folder, which is no reason to fail."""
    errors = [errno.EINVAL, errno.EIO]

    def fail(_: int) -> None:
        raise OSError(errors.pop(0), "a fault")

    monkeypatch.setattr(os, "fsync", fail)
    export._sync_folder(folder)
    with pytest.raises(OSError, match="a fault"):
        export._sync_folder(folder)


def test_somebody_who_was_faster(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_sync", lambda file: (folder / "out").write_text("precious"))
    run("mail", "export", "demo", "--output", "out").fails(1, "cannot write out: file exists")
    assert (folder / "out").read_text() == "precious"


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_that_is_missing(run: Run, form: str) -> None:
    run("mail", "export", "demo", "--format", form, "--output", "no/out").fails(1, "cannot write no/out: no such file")


def test_a_message_that_is_deleted_meanwhile(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("mail", "export", "demo", "--output", "out")
    get_message = JSONFileStore.get_message

    async def missing(self: JSONFileStore, account: str, mailbox: str, uid: int) -> object:
        if uid == 2:
            raise NoSuchMessage
        return await get_message(self, account, mailbox, uid)

    monkeypatch.setattr(JSONFileStore, "get_message", missing)
    assert run("mail", "export", "demo", "--output", "fewer").lines == ["11 messages written to fewer."]
    assert run("mail", "import", "demo", "out").lines == ["1 message imported, 11 already in the mailbox."]


# --- damage


@pytest.fixture
def large(prepare: Prepare, folder: Path) -> Path:
    """The file of one more message of demo, the 13th."""
    prepare(lambda store: store.append_message("demo", "INBOX", CONTENTS["large"]))
    [file] = (folder / "mail/blobs").iterdir()
    return file


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))


@pytest.mark.parametrize(("form", "uids"), [("mbox", ()), ("maildir", ()), ("eml", ("1", "13", "2"))])
def test_one_that_cannot_be_read(run: Run, large: Path, form: str, uids: Sequence[str]) -> None:
    """The error names the message, and the others are exported."""
    spoil(large)
    result = run("mail", "export", "demo", *uids, "--format", form, "--output", "out")
    good = 2 if uids else 12
    assert (result.code, result.lines) == (1, [f"{good} messages written to out."])
    assert [line for line in result.err.splitlines() if line.startswith("trio-smtp: ")] == [
        f"trio-smtp: message 13 in mailbox 'INBOX' of account 'demo' cannot be read: blob {large.name} is damaged",
        "trio-smtp: 1 message could not be read; trio-smtp store check shows what is damaged",
    ]
    assert run("mail", "import", "other", "out").lines == [f"{good} messages imported, 0 already in the mailbox."]


def test_one_that_cannot_be_read_on_the_way_to_a_pipe(run: Run, large: Path) -> None:
    large.unlink()
    result = run("mail", "export", "demo")
    assert (result.code, result.out) == (1, b"".join(to_mbox(content, DATE, FLAGS) for content in ALL))
    assert "message 13 in mailbox 'INBOX' of account 'demo' cannot be read: its file is missing" in result.err


def test_what_is_incomplete_replaces_nothing(run: Run, folder: Path, large: Path) -> None:
    """The older file may contain the message that is lost now."""
    assert run("mail", "export", "demo", "--output", "out", "--overwrite").code == 0
    before = (folder / "out").read_bytes()
    spoil(large)
    result = run("mail", "export", "demo", "--output", "out", "--overwrite")
    assert (result.code, result.out) == (1, b"")
    assert "1 message could not be read, so out was not replaced; choose another --output" in result.err
    assert (folder / "out").read_bytes() == before
    assert run("mail", "export", "demo", "--output", "new", "--overwrite").code == 1
    assert (folder / "new").exists()


def test_what_is_damaged_comes_back(run: Run, large: Path) -> None:
    """It is imported from a backup, since a damaged message does not count as being there already."""
    run("mail", "export", "demo", "--output", "out")
    spoil(large)
    assert run("mail", "import", "demo", "out").lines == ["1 message imported, 12 already in the mailbox."]
    run("mail", "show", "demo", "13").fails(
        1, "message 13 in mailbox 'INBOX' of account 'demo' cannot be read", "store check"
    )
    assert run("mail", "show", "demo", "14", "--raw").out == CONTENTS["large"]


# --- what others have written


def test_files_of_others(run: Run, folder: Path) -> None:
    (folder / "inbox").write_bytes(
        b"\r\n\nFrom x Tue Nov  3 04:05:06 2026\nSubject: 1\n\nx\n\nFrom y Tue Nov 99 1:00:00 1\n2"
    )
    (folder / "a.Eml").write_bytes(b"From here to there")
    (folder / "raw").write_bytes(b"Subject: raw\n\n")
    for name in ("cur", "new", "tmp"):
        (folder / "box" / name).mkdir(parents=True)
    (folder / "box" / "cur" / "1:2,FSXa").write_bytes(b"cur")
    (folder / "box" / "new" / "2").write_bytes(b"new")
    (folder / "box" / "tmp" / "3").write_bytes(b"tmp")
    (folder / "box" / "cur" / "folder").mkdir()
    (folder / "eml").mkdir()
    (folder / "eml" / "b.EML").write_bytes(b"b")
    (folder / "eml" / "._b.EML").write_bytes(b"what macOS keeps beside a file on other file systems")
    (folder / "box" / "cur" / ".DS_Store").write_bytes(b"ds")
    (folder / "eml" / "notes.txt").write_bytes(b"txt")
    os.utime(folder / "raw", (0, 0))
    result = run("mail", "import", "other", "inbox", "a.Eml", "raw", "box", "eml")
    assert result.lines == ["7 messages imported, 0 already in the mailbox."]
    by_content = {content: (date, flags) for content, date, flags in held(run, "other")}
    assert by_content.keys() == {
        b"Subject: 1\n\nx\n", b"2", b"From here to there", b"Subject: raw\n\n", b"cur", b"new", b"b"
    }  # fmt: skip
    assert by_content[b"Subject: 1\n\nx\n"] == ("2026-11-03T04:05:06Z", [])
    assert by_content[b"Subject: raw\n\n"] == ("1970-01-01T00:00:00Z", [])
    assert by_content[b"cur"][1] == ["\\Flagged", "\\Seen"]


def test_a_form_that_is_named(run: Run, folder: Path) -> None:
    (folder / "x").write_bytes(to_mbox(b"x", DATE, []))
    assert run("mail", "import", "other", "x", "--format", "eml").code == 0
    assert run("mail", "import", "other", "-", "--format", "eml", stdin=b"stdin").code == 0
    assert {content for content, *_ in held(run, "other")} == {to_mbox(b"x", DATE, []), b"stdin"}


def test_a_pipe_is_read_once(run: Run, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=(folder / "pipe").write_bytes, args=(to_mbox(b"x", DATE, []),))
    writer.start()
    assert run("mail", "import", "other", "pipe").lines == ["1 message imported, 0 already in the mailbox."]
    writer.join()


@pytest.mark.parametrize("form", ["maildir", "eml"])
def test_links_in_a_folder_lead_nowhere(run: Run, folder: Path, form: str) -> None:
    (folder / "secret").write_bytes(b"of the one who imports")
    for name in ("in/cur", "in/new"):
        (folder / name).mkdir(parents=True)
    inside = folder / ("in/cur" if form == "maildir" else "in")
    (inside / "1.eml").write_bytes(b"a")
    (inside / "2.eml").symlink_to(folder / "secret")
    (inside / "3.eml").symlink_to(folder / "missing")
    (inside / "4.eml").mkdir()
    os.mkfifo(inside / "5.eml")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{inside.relative_to(folder)}/6.eml")
        result = run("mail", "import", "other", "in", "--format", form)
    assert result.lines == ["1 message imported, 0 already in the mailbox."]
    assert result.err.splitlines() == [
        f"trio-smtp: {inside.relative_to(folder)}/{name} is a symbolic link; skipped" for name in ("2.eml", "3.eml")
    ]
    assert [content for content, *_ in held(run, "other")] == [b"a"]


def test_a_maildir_that_leads_elsewhere(run: Run, folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "in/new").mkdir(parents=True)
    (folder / "in/cur").symlink_to(folder / "secrets")
    run("mail", "import", "other", "in").fails(1, "in/cur is a symbolic link, which is not followed")
    (folder / "in/cur").unlink()
    (folder / "in/cur").mkdir()
    (folder / "in/cur/1").write_bytes(b"a")
    (folder / "named").symlink_to(folder / "in")
    assert run("mail", "import", "other", "named").lines == ["1 message imported, 0 already in the mailbox."]


def test_a_file_in_a_folder_that_cannot_be_read(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, numbers = os.open, [errno.EACCES, errno.ENOENT]

    def fail(path: Any, *arguments: Any, **options: Any) -> int:
        if path == "1.eml":
            number = numbers.pop()
            raise OSError(number, os.strerror(number), path)
        return real(path, *arguments, **options)

    (folder / "in").mkdir()
    for name in ("1.eml", "2.eml"):
        (folder / "in" / name).write_bytes(b"a")
    monkeypatch.setattr(import_, "os", SimpleNamespace(**{**vars(os), "open": fail}))
    imported = run("mail", "import", "other", "in")
    assert imported.lines == ["1 message imported, 0 already in the mailbox."]
    assert imported.err == (
        "trio-smtp: in/1.eml has been renamed or deleted in the meantime; skipped, so import once more\n"
    )
    run("mail", "import", "other", "in").fails(1, "cannot read in: permission denied")


@pytest.mark.parametrize("seconds", [2**38, 2**62, 2**70])
def test_a_date_that_is_none(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    class Clock(datetime):
        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> Clock:
            return super().fromtimestamp(seconds, tz)

    monkeypatch.setattr(import_, "datetime", Clock)
    (folder / "a.eml").write_bytes(b"a")
    before = datetime.now(UTC).replace(microsecond=0)
    assert run("mail", "import", "other", "a.eml").code == 0
    [(_, date, _)] = held(run, "other")
    assert before <= datetime.fromisoformat(date) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["missing"], "cannot read missing: no such file"),
        (["missing.eml"], "cannot read missing.eml: no such file"),
        (["missing", "--format", "eml"], "cannot read missing: no such file"),
        (
            ["text", "--format", "mbox"],
            "text is not an mbox: it does not begin with a From line; add --format eml to import it",
        ),
        (["missing", "--format", "maildir"], "cannot read missing: no such file"),
        (["text", "--format", "maildir"], "text is not a Maildir: it has no folder cur"),
        (["folder", "--format", "maildir"], "folder is not a Maildir: it has no folder new"),
    ],
)
def test_what_cannot_be_imported(run: Run, folder: Path, arguments: list[str], fragment: str) -> None:
    (folder / "text").write_text("text")
    (folder / "folder" / "cur").mkdir(parents=True)
    run("mail", "import", "other", *arguments).fails(1, fragment)


def test_no_room(run: Run) -> None:
    run("mail", "export", "demo", "--output", "out")
    run("account", "quota", "other", "1K")
    run("mail", "import", "other", "out").fails(1, "of its quota of 1024 octets", "account quota")
    run("account", "quota", "other", "none")
    assert run("mail", "import", "other", "out").code == 0
    assert held(run, "other") == held(run, "demo")


# --- the progress bar


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 0.05, 1.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr("trio_smtp.cli.progress.time.monotonic", lambda: next(now))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.progress("Exporting") as advance:
        for share in (0.0, 0.1, 0.5, 1.5):
            advance(share)
    assert terminal.getvalue().split("\r") == [
        "",
        f"Exporting [{' ' * 30}]   0%",
        f"Exporting [{'#' * 15}{' ' * 15}]  50%",
        f"Exporting [{'#' * 30}] 100%",
        "\x1b[K",
    ]


def test_no_bar_without_a_terminal(run: Run) -> None:
    assert run("mail", "export", "demo", "--output", "out").err == ""
    assert run("mail", "import", "other", "out").err == ""
