"""``trio-smtp account``: adding, showing, changing and removing accounts, quotas, passwords."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.cli.tools import Result
from trio_smtp.mailbox import passwords
from trio_smtp.mailbox.passwords import MAX_PASSWORD, verify_password
from trio_smtp.mailbox.store import Credentials, MailStore

Run = Callable[..., Result]
Prepare = Callable[[Callable[[MailStore], Awaitable[object]]], None]

DEMO = {
    "name": "demo",
    "description": "",
    "addresses": ["demo@example.com"],
    "quota": None,
    "used": 0,
}


@pytest.fixture
def demo(run: Run) -> None:
    assert run("account", "add", "demo", "--address", "demo@example.com").code == 0


async def deliver_one(store: MailStore) -> None:
    await store.append_message("demo", "INBOX", b"Subject: hello\r\n\r\n")


def has_password(prepare: Prepare, password: str | None) -> bool:
    found: list[bool] = []

    async def check(store: MailStore) -> None:
        credentials = await store.get_credentials("demo")
        found.append(credentials is None if password is None else verify_password(credentials, password))

    prepare(check)
    return found[0]


def test_add(run: Run, folder: Path) -> None:
    result = run("account", "add", "demo", "--address", "demo@example.com")
    assert result == (0, b"Account demo added without a password; it receives mail for demo@example.com.\n", "")
    assert run("account", "list", "--json").records == [DEMO]
    assert [path.name for path in folder.iterdir()] == ["mail"]


def test_add_where_no_store_can_be_created(run: Run, folder: Path) -> None:
    result = run("account", "add", "demo", "--address", "demo@example.com", "--store", "json:gone/mail")
    result.fails(1, "json:gone/mail: no such file or directory; choose another one")  # not: create one
    assert not list(folder.iterdir())


def test_add_names_each_address_once(run: Run) -> None:
    result = run("account", "add", "demo", "--address", "demo@example.com", "--address", "Demo@EXAMPLE.com")
    [record] = run("account", "list", "--json").records
    assert f" receives mail for {', '.join(record['addresses'])}.\n".encode() in result.out
    assert len(record["addresses"]) == 1


def test_add_with_everything(run: Run, prepare: Prepare) -> None:
    argv = "account add demo --address demo@example.com --address info@example.com --description D --password-stdin"
    result = run(*argv.split(), "--json", stdin=b"secret")
    account = {**DEMO, "description": "D", "addresses": ["demo@example.com", "info@example.com"]}
    assert result.records == [account]
    assert run("account", "show", "demo", "--json").records == [
        {**account, "password": True, "mailboxes": 1, "messages": 0}
    ]
    assert has_password(prepare, "secret")


def test_add_to_another_store(run: Run, folder: Path) -> None:
    flags = ("--store", "json:a")
    assert run("account", "add", "demo", "--address", "demo@example.com", *flags).code == 0
    assert run("account", "list", *flags, "--json").records == [DEMO]
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.usefixtures("demo")
def test_add_what_is_there(run: Run) -> None:
    run("account", "add", "demo", "--address", "x@example.com").fails(1, "demo", "account show")
    run("account", "add", "x", "--address", "DEMO@example.com").fails(1, "demo@example.com", "account list")
    assert run("account", "list", "--json").records == [DEMO]


@pytest.mark.usefixtures("demo")
def test_list_and_show_for_people(run: Run) -> None:
    run("account", "add", "a\u202eb", "--address", "b@example.com", "--description", "The \\ one")
    assert run("account", "list").lines == [
        "NAME      USED  QUOTA  ADDRESSES         DESCRIPTION",
        "demo         0  -      demo@example.com",
        r"a\u202eb     0  -      b@example.com     The \\ one",
    ]
    assert run("account", "show", "demo").lines == [
        "name:         demo",
        "description:",
        "addresses:    demo@example.com",
        "quota:        -",
        "used:         0",
        "password:     no",
        "mailboxes:    1",
        "messages:     0",
    ]


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("action", ["show", "passwd", "check", "remove", "quota", "set"])
def test_unknown_account(run: Run, action: str) -> None:
    more = {"quota": ["1K"], "set": ["--description", "x"]}
    run("account", action, "nobody", *more.get(action, [])).fails(1, "nobody", "account list")


@pytest.mark.usefixtures("demo")
def test_set(run: Run) -> None:
    changed = {**DEMO, "addresses": ["a@example.com", "b@example.com"]}
    argv = ["account", "set", "demo", "--address", "a@example.com", "--address", "b@example.com"]
    assert run(*argv).out == b"Account demo changed; it receives mail for a@example.com, b@example.com.\n"
    assert run("account", "list", "--json").records == [changed]
    described = {**changed, "description": "for tests"}
    assert run("account", "set", "demo", "--description", "for tests", "--json").records == [described]
    argv = ["account", "set", "demo", "--address", "demo@example.com", "--description", "", "--json"]
    assert run(*argv).records == [DEMO]


@pytest.mark.usefixtures("demo")
def test_set_an_address_of_others(run: Run) -> None:
    run("account", "add", "other", "--address", "other@example.com")
    run("account", "set", "demo", "--address", "other@example.com").fails(1, "other@example.com", "other")
    assert run("account", "show", "demo", "--json").records[0]["addresses"] == ["demo@example.com"]


@pytest.mark.usefixtures("demo")
def test_set_nothing(run: Run) -> None:
    run("account", "set", "demo").fails(2, "--address", "--description")


def test_quota(run: Run, prepare: Prepare) -> None:
    run("account", "add", "demo", "--address", "demo@example.com", "--quota", "2K")
    prepare(deliver_one)
    account = {**DEMO, "quota": 2048, "used": 18}
    assert run("account", "list", "--json").records == [account]
    assert run("account", "list").lines[1] == "demo    18   2048  demo@example.com"
    assert run("account", "quota", "demo", "1M", "--json").records == [{**account, "quota": 1 << 20}]
    assert (
        run("account", "quota", "demo", "10").out
        == b"Account demo has a quota of 10 octets now; its messages use 18 octets.\n"
    )
    assert (
        run("account", "quota", "demo", "none").out == b"Account demo has no quota now; its messages use 18 octets.\n"
    )
    assert run("account", "show", "demo", "--json").records[0]["quota"] is None


PASSWORDS = [
    ("no newline", b"secret", "secret"),
    ("one newline", b"secret\n", "secret"),
    ("blanks", b" se cret \n", " se cret "),
    ("as long as it may be", b"x" * MAX_PASSWORD + b"\n", "x" * MAX_PASSWORD),
    ("other letters", "gehëim\n".encode(), "gehëim"),
]


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(("stdin", "password"), [case[1:] for case in PASSWORDS], ids=[case[0] for case in PASSWORDS])
def test_password_from_standard_input(run: Run, prepare: Prepare, stdin: bytes, password: str) -> None:
    result = run("account", "passwd", "demo", "--password-stdin", stdin=stdin)
    assert result == (0, b"Account demo has a new password.\n", "")
    assert has_password(prepare, password)


@pytest.mark.parametrize("stdin", [b"", b"\n", b"secret\n\n", b"x" * (MAX_PASSWORD + 1), b"\xff"])
def test_impossible_password(run: Run, folder: Path, stdin: bytes) -> None:
    argv = "account add demo --address demo@example.com --password-stdin"
    run(*argv.split(), stdin=stdin).fails(1, "password", "nothing was ")
    assert not list(folder.iterdir())


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what a person types at the password prompts."""

    def type_at_the_prompt(*passwords: str) -> None:
        answers: Iterator[str] = iter(passwords)
        monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))

    return type_at_the_prompt


@pytest.mark.usefixtures("demo")
def test_password_from_the_terminal(run: Run, prepare: Prepare, typed: Callable[..., None]) -> None:
    typed("secret", "secret")
    assert run("account", "passwd", "demo", "--json", terminal=True).records == [{"name": "demo"}]
    assert has_password(prepare, "secret")


def test_add_asks_on_a_terminal(run: Run, prepare: Prepare, typed: Callable[..., None]) -> None:
    typed("secret", "secret")
    assert run("account", "add", "demo", "--address", "demo@example.com", terminal=True).code == 0
    assert has_password(prepare, "secret")


def test_add_with_a_password_typed_wrongly(run: Run, folder: Path, typed: Callable[..., None]) -> None:
    typed("secret", "sceret")
    run("account", "add", "demo", "--address", "demo@example.com", terminal=True).fails(1, "nothing was changed")
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("demo")
def test_check(run: Run, typed: Callable[..., None]) -> None:
    run("account", "check", "demo", "--password-stdin", stdin=b"secret").fails(1, "wrong password for account demo")
    assert run("account", "passwd", "demo", "--password-stdin", stdin=b"secret").code == 0
    right = run("account", "check", "demo", "--password-stdin", stdin=b"secret\n")
    assert right == (0, b"The password is right for account demo.\n", "")
    run("account", "check", "demo", "--password-stdin", stdin=b"Secret").fails(1, "wrong password")
    run("account", "check", "demo").fails(2, "--password-stdin")
    typed("secret")
    assert run("account", "check", "demo", "--json", terminal=True).records == [{"name": "demo"}]


@pytest.mark.usefixtures("demo")
def test_by_an_address(run: Run) -> None:
    argv = "account add ann --address demo@ann.example --address Ann@example.com"
    assert run(*argv.split()).code == 0
    assert run("account", "passwd", "ann@EXAMPLE.com", "--password-stdin", stdin=b"secret").lines == [
        "Account ann has a new password."
    ]
    right = run("account", "check", "ann@example.com", "--password-stdin", "--json", stdin=b"secret")
    assert right.records == [{"name": "ann"}]
    [shown] = run("account", "show", "ann@example.com", "--json").records
    assert (shown["name"], shown["password"]) == ("ann", True)
    run("account", "show", "bob@example.com").fails(1, "bob@example.com", "account list")
    run("account", "check", "bob@example.com", "--password-stdin", stdin=b"x").fails(1, "account list")
    run("account", "remove", "ann@example.com", "--yes").fails(1, "account list")


def test_a_name_comes_before_an_address(run: Run) -> None:
    for argv in ("add ann --address ann@example.com", "add ann@example.com --address bob@example.com"):
        assert run("account", *argv.split()).code == 0
    [shown] = run("account", "show", "ann@example.com", "--json").records
    assert shown["addresses"] == ["bob@example.com"]


@pytest.mark.usefixtures("demo")
def test_password_typed_wrongly(run: Run, prepare: Prepare, typed: Callable[..., None]) -> None:
    typed("secret", "sceret")
    run("account", "passwd", "demo", terminal=True).fails(1, "differ")
    assert has_password(prepare, None)


@pytest.mark.usefixtures("demo")
def test_password_without_a_terminal(run: Run, prepare: Prepare) -> None:
    run("account", "passwd", "demo", stdin=b"secret").fails(2, "--password-stdin")
    assert has_password(prepare, None)


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    ("fault", "fragment"),
    [(EOFError(), "no password was entered"), (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "encoding")],
    ids=["end", "no text"],
)
@pytest.mark.parametrize("typed_before", [(), ("secret",)], ids=["first", "second"])
def test_what_is_no_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception, fragment: str, typed_before: tuple[str, ...]
) -> None:
    monkeypatch.setattr(getpass, "getpass", Mock(side_effect=[*typed_before, fault]))
    run("account", "passwd", "demo", terminal=True).fails(1, fragment, "nothing was done")


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    ("kept", "fragment"),
    [
        ("$argon2id$v=19$m=256,t=1,p=1$c2FsdHNhbHQ=$" + "A" * 43, "hashed with Argon2; install trio-smtp[auth]"),
        ("$2b$12$of.another.program", "unknown format"),
    ],
)
def test_a_password_that_cannot_be_checked(
    run: Run, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, kept: str, fragment: str
) -> None:
    """It was set where the extra `auth` was installed, or by a program with another form of credentials."""
    monkeypatch.setattr(passwords, "HAS_ARGON2", False)
    prepare(lambda store: store.set_password("demo", Credentials(kept)))
    result = run("account", "check", "demo", "--password-stdin", stdin=b"secret")
    result.fails(1, "the password of account demo cannot be checked", fragment)


@pytest.mark.usefixtures("demo")
def test_interrupted_at_the_prompt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(getpass, "getpass", interrupt)
    assert run("account", "passwd", "demo", terminal=True) == (130, b"", "")


@pytest.mark.usefixtures("demo")
def test_remove_an_empty_account(run: Run) -> None:
    assert run("account", "remove", "demo") == (0, b"Account demo removed.\n", "")
    assert run("account", "list", "--json").records == []


@pytest.mark.usefixtures("demo")
def test_remove_with_mail(run: Run, prepare: Prepare) -> None:
    prepare(deliver_one)
    run("account", "remove", "demo").fails(2, "1 message;", "--yes")
    for answer, shown in ((b"\n", ""), (b"\xff\n", ""), (b"", "\n")):
        declined = run("account", "remove", "demo", terminal=True, stdin=answer)
        assert (declined.code, declined.out) == (1, b"")
        assert declined.err.endswith(f"Delete them? [y/N] {shown}trio-smtp: nothing was deleted\n")
    assert len(run("account", "list", "--json").records) == 1
    assert run("account", "remove", "demo", "--yes", "--json").records == [{"name": "demo"}]
    assert run("account", "list", "--json").records == []


@pytest.mark.usefixtures("demo")
def test_remove_after_asking(run: Run, prepare: Prepare) -> None:
    prepare(deliver_one)
    result = run("account", "remove", "demo", terminal=True, stdin=b"y\n")
    assert (result.code, result.out) == (0, b"Account demo removed.\n")
    assert result.err == "Account demo holds 1 message. Delete them? [y/N] "
