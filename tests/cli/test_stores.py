"""The store that ``--store`` names: when it is created, which errors are reported, and the null store."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.cli.tools import Result
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.settings import StoreURL, parse_json_store
from trio_smtp.cli.stores import NullStore, opened, unusable
from trio_smtp.mailbox.store import Delivered, NoSuchAccount, StoreUnavailable, Target

WITHOUT_A_STORE = [
    "account list",
    "account show demo",
    "account passwd demo --password-stdin",
    "account remove demo",
    "mailbox list demo",
    "mailbox create demo Archive",
    "mailbox rename demo Archive Old",
    "mailbox delete demo Archive",
    "mail list demo",
    "mail show demo 1",
    "mail delete demo 1",
]


@pytest.mark.parametrize("command", WITHOUT_A_STORE)
def test_only_adding_an_account_begins_a_store(run: Callable[..., Result], folder: Path, command: str) -> None:
    run(*command.split()).fails(1, "json:mail", "account add", "--store")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("command", WITHOUT_A_STORE)
def test_a_folder_with_something_else_in_it_is_left_alone(
    run: Callable[..., Result], folder: Path, command: str
) -> None:
    (folder / "file").write_text("precious")
    result = run(*command.split(), "--store", f"json:{folder}")
    result.fails(1, f"json:{folder}: there is no store; choose another one with --store")
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_one_piece_of_advice_is_enough(run: Callable[..., Result], folder: Path) -> None:
    """Somebody who should restore a backup is not told to choose another store, nor to begin one."""
    assert run("account", "add", "demo", "--address", "demo@example.com").code == 0
    (folder / "mail").chmod(0o777)
    cannot_use = "trio-smtp: cannot use the store json:mail: "
    assert run("account", "list").err == f"{cannot_use}other users can write to the directory; run chmod go-w on it\n"
    (folder / "mail").chmod(0o700)
    (folder / "mail" / "manifest.json").unlink()
    restore = f"{cannot_use}the directory contains mail but no manifest.json; restore the store from a backup\n"
    assert run("account", "list").err == run("store", "check").err == restore


def test_nobody_is_told_to_begin_a_store_where_there_is_a_file(run: Callable[..., Result], folder: Path) -> None:
    (folder / "mail").write_text("precious")
    run("account", "list").fails(1, "not a directory; choose another one with --store")


def test_nobody_is_told_to_begin_a_store_that_is_out_of_sight() -> None:
    said = str(unusable(parse_json_store("json:mail"), PermissionError(13, "Permission denied")))
    assert said == "cannot use the store json:mail: permission denied; choose another one with --store json:DIRECTORY"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EMFILE, "too many open files; raise the limit with ulimit -n"),
        (errno.ENOSPC, "no space left on device; make room on the disk"),
        (errno.EDQUOT, "disk quota exceeded; make room on the disk"),
    ],
)
def test_a_shortage_that_another_store_would_not_end(number: int, advice: str) -> None:
    said = str(unusable(parse_json_store("json:mail"), OSError(number, os.strerror(number))))
    assert said == f"cannot use the store json:mail: {advice}"


def test_the_file_that_is_at_fault_is_named(run: Callable[..., Result], folder: Path) -> None:
    assert run("account", "add", "demo", "--address", "demo@example.com").code == 0
    (folder / "mail/journal/000001.jsonl").rename(folder / "elsewhere")
    (folder / "mail/journal/000001.jsonl").symlink_to(folder / "elsewhere")
    run("account", "list").fails(1, "cannot use the store json:mail: 000001.jsonl: too many levels of symbolic links;")


async def test_a_store_that_fails_while_it_is_used() -> None:
    with pytest.raises(CommandError, match=r"^the store memory: cannot be used any longer: no space left on device$"):
        async with opened(StoreURL("memory")):
            raise StoreUnavailable("the journal cannot be written") from OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "command", ["account add demo --address demo@example.com", "serve --listen smtp://localhost:0"]
)
def test_a_store_that_cannot_be_made(run: Callable[..., Result], folder: Path, command: str) -> None:
    (folder / "file").write_text("precious")
    run(*command.split(), "--store", "json:file/mail").fails(1, "json:file/mail", "not a directory", "--store")
    assert (folder / "file").read_text() == "precious"


def nobody_of(uid: int) -> NoReturn:
    raise KeyError(uid)


@pytest.mark.parametrize(
    "command", ["account list", "store repair", "store compact", "serve --listen smtp://127.0.0.1:0"]
)
def test_a_store_of_another_user(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, folder: Path, command: str
) -> None:
    assert run("account", "add", "demo", "--address", "demo@example.com").code == 0
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    name = pwd.getpwuid(owner).pw_name
    run(*command.split()).fails(1, f"json:mail belongs to the user {name};", f"sudo -u {name} trio-smtp", "chown -R")
    monkeypatch.setattr(pwd, "getpwuid", nobody_of)
    run(*command.split()).fails(1, f"belongs to the user #{owner};", f"sudo -u '#{owner}' trio-smtp")
    for reading in ("info", "check", "quarantine"):
        assert run("store", reading).code == 0  # it may be a backup
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert run("mail", "list", "demo").code == 0  # reading creates nothing there
    assert files == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_the_null_store_checks_and_drops() -> None:
    async with NullStore() as store:
        await store.create_account("demo", addresses=["demo@example.com"])
        async with store.deliver([Target("demo")]) as delivery:
            await delivery.write(b"Subject: hello\r\n")
            first = await delivery.commit()
        second = await store.append_message("demo", "INBOX", b"x")
        assert isinstance(first[0], Delivered)
        assert (first[0].uid, second.uid) == (1, 2)
        assert await store.count_messages("demo", "INBOX") == 0
        with pytest.raises(NoSuchAccount):
            async with store.deliver([Target("demo"), Target("ann")]) as delivery:
                await delivery.commit()
        async with store.deliver([Target("demo"), Target("ann")], partial=True) as delivery:
            assert [type(result) for result in await delivery.commit()] == [Delivered, NoSuchAccount]
