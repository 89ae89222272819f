"""trio-smtp: take mail, with structured concurrency.

The parts; each may import those above it, and none below (tests/test_imports.py):

- `protocol`: SMTP and LMTP without I/O, octets in, events and replies out; `sasl`: logins, and `mime`: what a message
  says, both without I/O too
- `mailbox`: accounts and their mail, in memory and in files
- `handler`: what an application writes to take mail
- `policy`: what clients may do, asked before the handler; `trace`: the fields that a message gets when it is received
- `server`: listeners, sessions, TLS and logins on trio; `mailbox_handler`: delivery into a store
- `submission`: delivery for people who have logged in
- `cli`: the program; `testing`: for the tests of other programs

The public names are loaded when they are first used, so that `trio_smtp.protocol`, `trio_smtp.mime` and
`trio_smtp.mailbox` can be imported without trio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_smtp.handler import Body as Body
    from trio_smtp.handler import Handler as Handler
    from trio_smtp.handler import HandlerFactory as HandlerFactory
    from trio_smtp.handler import Mail as Mail
    from trio_smtp.handler import MessageAborted as MessageAborted
    from trio_smtp.handler import Peer as Peer
    from trio_smtp.handler import Refuse as Refuse
    from trio_smtp.handler import Session as Session
    from trio_smtp.handler import TLSInfo as TLSInfo
    from trio_smtp.mailbox import MailStore as MailStore
    from trio_smtp.mailbox import MemoryStore as MemoryStore
    from trio_smtp.mailbox.json_file import JSONFileStore as JSONFileStore
    from trio_smtp.mailbox_handler import MailboxHandler as MailboxHandler
    from trio_smtp.mime import Attachment as Attachment
    from trio_smtp.mime import MailAddress as MailAddress
    from trio_smtp.mime import ParsedMessage as ParsedMessage
    from trio_smtp.mime import Part as Part
    from trio_smtp.policy import Content as Content
    from trio_smtp.policy import FaultDelay as FaultDelay
    from trio_smtp.policy import Greylist as Greylist
    from trio_smtp.policy import HeaderLimits as HeaderLimits
    from trio_smtp.policy import Policy as Policy
    from trio_smtp.policy import Rate as Rate
    from trio_smtp.policy import RateLimits as RateLimits
    from trio_smtp.policy import default_policies as default_policies
    from trio_smtp.protocol import AbortReason as AbortReason
    from trio_smtp.protocol import Address as Address
    from trio_smtp.protocol import Config as Config
    from trio_smtp.protocol import Envelope as Envelope
    from trio_smtp.protocol import Hello as Hello
    from trio_smtp.protocol import Limits as Limits
    from trio_smtp.protocol import MailFrom as MailFrom
    from trio_smtp.protocol import MailParameters as MailParameters
    from trio_smtp.protocol import RcptParameters as RcptParameters
    from trio_smtp.protocol import RcptTo as RcptTo
    from trio_smtp.protocol import Reply as Reply
    from trio_smtp.protocol import Verify as Verify
    from trio_smtp.server import Authenticator as Authenticator
    from trio_smtp.server import CertificateError as CertificateError
    from trio_smtp.server import Certificates as Certificates
    from trio_smtp.server import Server as Server
    from trio_smtp.server import ServerOptions as ServerOptions
    from trio_smtp.server import SessionOptions as SessionOptions
    from trio_smtp.server import Stats as Stats
    from trio_smtp.server import StoreAuthenticator as StoreAuthenticator
    from trio_smtp.server import Timeouts as Timeouts
    from trio_smtp.server import bind_sockets as bind_sockets
    from trio_smtp.server import open_server as open_server
    from trio_smtp.server import serve_smtp as serve_smtp
    from trio_smtp.server import serve_sockets as serve_sockets
    from trio_smtp.server import serve_stream as serve_stream
    from trio_smtp.server import server_context as server_context
    from trio_smtp.submission import SubmissionHandler as SubmissionHandler

_HOMES: Final = {
    "trio_smtp.handler": ("Body Handler HandlerFactory Mail MessageAborted Peer Refuse Session TLSInfo"),
    "trio_smtp.mailbox": "MailStore MemoryStore",
    "trio_smtp.mailbox.json_file": "JSONFileStore",
    "trio_smtp.mailbox_handler": "MailboxHandler",
    "trio_smtp.mime": "Attachment MailAddress ParsedMessage Part",
    "trio_smtp.policy": "Content FaultDelay Greylist HeaderLimits Policy Rate RateLimits default_policies",
    "trio_smtp.protocol": (
        "AbortReason Address Config Envelope Hello Limits MailFrom MailParameters RcptParameters RcptTo Reply Verify"
    ),
    "trio_smtp.server": (
        "Authenticator CertificateError Certificates Server ServerOptions SessionOptions Stats StoreAuthenticator "
        "Timeouts bind_sockets open_server serve_smtp serve_sockets serve_stream server_context"
    ),
    "trio_smtp.submission": "SubmissionHandler",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = [*_HOME_OF]  # noqa: PLE0604 - they are all strings


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
