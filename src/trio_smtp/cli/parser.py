"""The commands and flags. The parser turns the command line into keyword arguments of the command's function.

The parser knows a command only by the names of its module and function. `main` imports only the module it needs, so
that ``--help`` and errors are printed at once.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from trio_smtp import __version__
from trio_smtp.cli import values
from trio_smtp.cli.output import printable
from trio_smtp.cli.serve_flags import add_catch_flags, add_serve_flags
from trio_smtp.cli.settings import DEFAULT_STORE, parse_json_store

__all__ = ["build_parser"]


def build_parser() -> ArgumentParser:
    """The parser of the command line. Its result has `command`, a pair of module and function, and the arguments."""
    parser = _Parser(
        prog="trio-smtp",
        description="Receive mail over SMTP and LMTP, store it, and read it.",
        epilog="To start: trio-smtp serve --account demo=demo@example.com",
    )
    parser.add_argument("--version", action="version", version=f"trio-smtp {__version__}")
    commands = _Commands(parser, "COMMAND")
    serve = commands.add("serve", "receive mail for the accounts of a store, until Ctrl-C or SIGTERM")
    serve.set_defaults(command=("serve", "serve"))
    add_serve_flags(serve)
    catch = commands.add("catch", "receive mail for any recipient and show it, to test a program that sends mail")
    catch.set_defaults(command=("serve", "serve"), catching=True)
    add_catch_flags(catch)
    _add_account(commands.group("account", "manage the accounts that receive mail and can log in"))
    _add_mailbox(commands.group("mailbox", "manage the mailboxes of an account"))
    _add_mail(commands.group("mail", "list, show, search, change, import and export messages"))
    _add_store(commands.group("store", "check, repair and compact a store"))
    _add_send(commands)
    return parser


class _Parser(ArgumentParser):
    """A parser that reports errors in one line and accepts no abbreviations of flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        """Report unknown arguments as an error of the command they were given to, not of the whole program."""
        parsed, unknown = super().parse_known_args(*args, **options)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Ignore write errors, such as a closed pipe. Newer versions of argparse do so; Python 3.11.2 would raise."""
        with suppress(OSError):
            super()._print_message(message, file)


class _Commands:
    """The commands of the program, or the actions of one command."""

    def __init__(self, parser: ArgumentParser, metavar: str) -> None:
        self._subparsers = parser.add_subparsers(metavar=metavar, required=True)

    def add(self, name: str, what: str, parents: Sequence[_Parser] = ()) -> ArgumentParser:
        description = f"{what[:1].upper()}{what[1:]}."
        return self._subparsers.add_parser(name, help=what, description=description, parents=parents)

    def group(self, name: str, what: str) -> _Commands:
        return _Commands(self.add(name, what), "ACTION")


# --- account, mailbox, mail


def _flag(*names: str, **options: Any) -> _Parser:
    """A flag that several commands share, as a parent parser for them."""
    parent = _Parser(add_help=False)
    parent.add_argument(*names, **options)
    return parent


_STORE = _flag(
    "--store",
    type=parse_json_store,
    default=DEFAULT_STORE,
    metavar="URL",
    help="the store, json:DIRECTORY (default: %(default)s)",
)
_JSON = _flag("--json", dest="as_json", action="store_true", help="print one JSON object per line")
_MAILBOX = _flag("--mailbox", default="INBOX", metavar="NAME", help="the mailbox (default: %(default)s)")
_ACCOUNT: Mapping[str, Any] = {"metavar": "ACCOUNT", "help": "the name of the account"}
_ACCOUNT_OR_ADDRESS: Mapping[str, Any] = {**_ACCOUNT, "help": "the name of the account, or one of its addresses"}
_UID: Mapping[str, Any] = {
    "type": values.count,
    "metavar": "UID",
    "help": "the UID of a message, as shown by trio-smtp mail list",
}
_YES = _flag("--yes", action="store_true", help="delete messages without asking for confirmation")
_YES_ALL = _flag("--yes", action="store_true", help="with --all: delete without asking for confirmation")
_WAIT = _flag(
    "--wait",
    type=values.seconds,
    metavar="SECONDS",
    help="if there is no message to list yet, wait for one, but not longer than this; exit code 1 if none arrives",
)
_REPAIR = _flag("--yes", action="store_true", help="repair without asking for confirmation")
_OUTPUT = _flag(
    "--output", type=values.path, metavar="DIRECTORY", help="copy the files to this directory, which must not exist"
)
_QUOTA = "the maximum total size of its messages, in octets or as 512K, 10M, 2G"
_PASSWORD_STDIN: Mapping[str, Any] = {
    "action": "store_true",
    "help": "read the password from standard input; a newline at its end is removed",
}
_PASSWORD = _flag("--password-stdin", **_PASSWORD_STDIN)

# flag, field of Search (or a name that `messages._condition` translates), type, metavar, help
_CONDITIONS: Sequence[tuple[str, str, Callable[[str], object], str, str]] = (
    (
        "--subject",
        "subject",
        str,
        "TEXT",
        "text in the subject; upper and lower case are the same, as in all conditions",
    ),
    ("--from", "sender", str, "TEXT", "text in the From field"),
    ("--to", "recipient", str, "TEXT", "text in the To, Cc or Bcc fields"),
    (
        "--header",
        "header",
        values.header,
        "NAME=TEXT",
        "text in the header field NAME; without =TEXT: the field exists",
    ),
    ("--body", "body", str, "TEXT", "text in the body"),
    ("--text", "text", str, "TEXT", "text in the header or the body"),
    ("--flag", "flag", values.flag, "FLAG", "the flag is set: a system flag such as Seen or Flagged, or a keyword"),
    ("--no-flag", "no_flag", values.flag, "FLAG", "the flag is not set"),
    ("--since", "since", values.date, "DATE", "received at this time or later: 2026-11-23, or 2026-11-23T20:15:00Z"),
    ("--before", "before", values.date, "DATE", "received before this time"),
    ("--larger", "larger", values.size, "SIZE", "larger than this, in octets or as 512K, 10M"),
    ("--smaller", "smaller", values.size, "SIZE", "smaller than this"),
)

_FORMS = ("mbox", "maildir", "eml")


def _named(kind: str, read: Callable[[str], object], text: str) -> tuple[str, object]:
    return kind, read(text)


def _add_account(actions: _Commands) -> None:
    add = actions.add("add", "create an account, and the store if it does not exist", [_PASSWORD, _STORE, _JSON])
    add.set_defaults(command=("account", "add"))
    add.add_argument(
        "name", type=values.name, metavar="NAME", help="the name of the account, which is also its login name"
    )
    add.add_argument(
        "--address",
        dest="addresses",
        action="append",
        required=True,
        type=values.address,
        metavar="ADDRESS",
        help="an address whose mail the account receives; may be given several times",
    )
    add.add_argument("--description", default="", type=values.description, metavar="TEXT", help="a description")
    add.add_argument("--quota", type=values.size, metavar="SIZE", help=f"{_QUOTA} (default: no limit)")

    change = actions.add("set", "change the addresses or the description of an account", [_STORE, _JSON])
    change.set_defaults(command=("account", "change"))
    change.add_argument("name", **_ACCOUNT)
    change.add_argument(
        "--address",
        dest="addresses",
        action="append",
        type=values.address,
        metavar="ADDRESS",
        help="an address whose mail the account receives; replaces all its addresses; may be given several times",
    )
    change.add_argument("--description", type=values.description, metavar="TEXT", help="the new description")

    quota = actions.add("quota", "set the quota of an account", [_STORE, _JSON])
    quota.set_defaults(command=("account", "quota"))
    quota.add_argument("name", **_ACCOUNT)
    quota.add_argument("octets", type=values.quota, metavar="SIZE|none", help=f"{_QUOTA}; none for no limit")

    show_all = actions.add("list", "list the accounts", [_STORE, _JSON])
    show_all.set_defaults(command=("account", "list_all"))

    for action, what, flags in (
        ("show", "show an account", []),
        ("passwd", "set the password of an account", [_PASSWORD]),
        ("check", "check whether a password is the right one for an account", [_PASSWORD]),
        ("remove", "remove an account with all its mail", [_YES]),
    ):
        parser = actions.add(action, what, [*flags, _STORE, _JSON])
        parser.set_defaults(command=("account", action))
        parser.add_argument("name", **(_ACCOUNT if action == "remove" else _ACCOUNT_OR_ADDRESS))


def _add_mailbox(actions: _Commands) -> None:
    for action, function, what, flags in (
        ("list", "list_all", "list the mailboxes", []),
        ("create", "create", "create an empty mailbox", []),
        ("rename", "rename", "rename a mailbox", []),
        ("delete", "delete", "delete a mailbox with all its mail", [_YES]),
        ("read-only", "read_only", "make a mailbox read-only, or writable again", []),
    ):
        parser = actions.add(action, what, [*flags, _STORE, _JSON])
        parser.set_defaults(command=("mailbox", function))
        parser.add_argument("account", **_ACCOUNT)
        if action != "list":
            parser.add_argument("name", metavar="NAME", help="the name of the mailbox")
        if action == "rename":
            parser.add_argument("new_name", metavar="NEW_NAME", help="its new name")
        if action == "read-only":
            parser.add_argument("state", choices=("on", "off"), help="on makes it read-only, off makes it writable")


def _add_mail(actions: _Commands) -> None:
    show_all = actions.add("list", "list the messages of a mailbox", [_WAIT, _MAILBOX, _STORE, _JSON])
    show_all.set_defaults(command=("mail", "list_all"))
    show = _add_show(actions)
    delete = actions.add("delete", "delete messages permanently", [_YES_ALL, _MAILBOX, _STORE, _JSON])
    delete.set_defaults(command=("mail", "delete"))
    delete.add_argument("--all", dest="every", action="store_true", help="delete all messages of the mailbox")
    search = _add_search(actions)
    flag = _add_flag(actions)
    copy = actions.add("copy", "copy messages into another mailbox", [_MAILBOX, _STORE, _JSON])
    copy.set_defaults(command=("messages", "copy"))
    move = actions.add("move", "move messages into another mailbox", [_MAILBOX, _STORE, _JSON])
    move.set_defaults(command=("messages", "move"))
    for parser in (copy, move):
        parser.add_argument("--to", required=True, metavar="NAME", help="the destination mailbox")
    export = _add_export(actions)
    import_ = actions.add(
        "import",
        "import messages from files, except those that the mailbox already contains",
        [_MAILBOX, _STORE, _JSON],
    )
    import_.set_defaults(command=("import_", "import_"))
    import_.add_argument("--format", dest="form", choices=_FORMS, help="the format of each PATH (default: detected)")
    for parser in (show_all, search, show, flag, copy, move, delete, export, import_):
        parser.add_argument("account", **_ACCOUNT)
    for parser in (show, flag, copy, move):
        parser.add_argument("uids", nargs="+", **_UID)
    _add_optional_uids(delete, **_UID)
    _add_optional_uids(export, **{**_UID, "help": "the UID of a message (default: all messages)"})
    import_.add_argument(
        "paths",
        type=values.path,
        nargs="+",
        metavar="PATH",
        help="an mbox file, Maildir, .eml file or folder of .eml files; - for standard input",
    )


def _add_show(actions: _Commands) -> ArgumentParser:
    parser = actions.add("show", "print messages", [_MAILBOX, _STORE])
    parser.set_defaults(command=("mail", "show"))
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="print the messages byte for byte")
    form.add_argument("--part", metavar="PATH", help="print the decoded content of one part, such as 1.2")
    form.add_argument(
        "--html",
        dest="as_html",
        action="store_true",
        help="print the HTML as a page for a browser, with the attached pictures; the page runs no scripts and loads "
        "nothing from the network",
    )
    form.add_argument(
        "--save-attachments",
        dest="folder",
        type=values.path,
        metavar="DIRECTORY",
        help="save the attachments as new files in this directory, under safe names, and print their paths",
    )
    form.add_argument(
        "--json",
        dest="as_json",
        action="store_true",
        help="print one JSON object per line, with the message in base64 and its parsed contents",
    )
    return parser


def _add_search(actions: _Commands) -> ArgumentParser:
    parser = actions.add("search", "list the messages that meet all conditions", [_WAIT, _MAILBOX, _STORE, _JSON])
    parser.set_defaults(command=("messages", "search"))
    for flag, kind, read, metavar, what in _CONDITIONS:
        parser.add_argument(
            flag, dest="conditions", action="append", type=partial(_named, kind, read), metavar=metavar, help=what
        )
    parser.set_defaults(conditions=[])
    parser.add_argument(
        "--any", dest="any_of", action="store_true", help="list the messages that meet at least one condition"
    )
    return parser


def _add_flag(actions: _Commands) -> ArgumentParser:
    parser = actions.add("flag", "change the flags of messages", [_MAILBOX, _STORE, _JSON])
    parser.set_defaults(command=("messages", "flag"))
    change = parser.add_mutually_exclusive_group(required=True)
    for flag, mode, what in (
        ("--add", "add", "add this flag; may be given several times"),
        ("--remove", "remove", "remove this flag; may be given several times"),
        ("--set", "replace", "replace all flags by this one, '' for none; may be given several times"),
    ):
        change.add_argument(
            flag,
            dest="changes",
            action="append",
            type=partial(_named, mode, values.flag_or_none),
            metavar="FLAG",
            help=what,
        )
    return parser


def _add_export(actions: _Commands) -> ArgumentParser:
    parser = actions.add("export", "export the messages of a mailbox to files", [_MAILBOX, _STORE, _JSON])
    parser.set_defaults(command=("export", "export"))
    parser.add_argument(
        "--format",
        dest="form",
        choices=_FORMS,
        default="mbox",
        help="mbox file, Maildir, or folder of .eml files (default: mbox)",
    )
    parser.add_argument(
        "--output",
        type=values.output,
        metavar="PATH",
        help="the file or folder to create, which must not exist; - for standard output, as mbox (default: -)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing mbox file")
    return parser


def _add_optional_uids(parser: ArgumentParser, **options: Any) -> None:
    """Add optional UIDs. With nargs="*", argparse would not accept UIDs after a flag that follows the account."""
    uids = parser.add_argument("uids", nargs="*", default=[], **options)
    parser.usage = parser.format_usage().removeprefix("usage: ")
    uids.nargs, uids.required = "+", False


# --- store


def _add_store(actions: _Commands) -> None:
    for action, what, flags in (
        ("info", "show the number of accounts and messages in a store, and their size", []),
        ("check", "read every record and every message, and report damage", []),
        ("repair", "move damaged files to quarantine, so that the store works without them", [_REPAIR]),
        ("quarantine", "list the files in quarantine, or copy them", [_OUTPUT]),
        ("compact", "free the space of deleted messages", []),
    ):
        parser = actions.add(action, what, [*flags, _STORE, _JSON])
        parser.set_defaults(command=("store", action))


# --- send


def _add_send(commands: _Commands) -> None:
    parser = commands.add("send", "send a test message or a file, and print the server's reply")
    parser.set_defaults(command=("send", "send"))
    parser.add_argument(
        "--to",
        dest="recipients",
        action="append",
        required=True,
        type=values.address,
        metavar="ADDRESS",
        help="a recipient; may be given several times",
    )
    parser.add_argument(
        "--from",
        dest="sender",
        type=values.address,
        default="trio-smtp@localhost",
        metavar="ADDRESS",
        help="the sender (default: %(default)s)",
    )
    parser.add_argument("--subject", type=values.line, metavar="TEXT", help="the subject of the test message")
    parser.add_argument(
        "--server",
        type=values.endpoint,
        default="127.0.0.1:1025",
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    tls = parser.add_mutually_exclusive_group()
    for flag, kind, what in (
        ("--starttls", "starttls", "use STARTTLS"),
        ("--tls", "implicit", "use TLS from the start"),
    ):
        tls.add_argument(flag, dest="tls", action="store_const", const=kind, help=what)
    parser.add_argument("--insecure", action="store_true", help="do not verify the server's certificate")
    parser.add_argument(
        "--user", type=values.line, metavar="NAME", help="the user name to log in with; asks for the password"
    )
    parser.add_argument("--password-stdin", **_PASSWORD_STDIN)
    parser.add_argument(
        "file",
        type=values.source,
        nargs="?",
        metavar="FILE",
        help="the message, - for standard input (default: a test message); line ends become CRLF",
    )
