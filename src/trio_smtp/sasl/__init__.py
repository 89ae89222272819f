"""SASL mechanisms, the server's side, as pure step machines (RFC 4422): no I/O, no passwords looked up.

A mechanism is fed the client's responses one by one and says what comes next: a `Challenge` to send, a question for the
application (`Verify`, `FetchKeys`, `CheckToken`, `CheckCertificate`: is it true what the client claims?),
`Proved` or `Failed`. Every exchange takes a fresh one.
"""

from __future__ import annotations

from trio_smtp.sasl.channel_binding import tls_server_end_point
from trio_smtp.sasl.external import External
from trio_smtp.sasl.keys import ScramKeys, derive_keys, keys_of_nobody
from trio_smtp.sasl.login import Login
from trio_smtp.sasl.mechanism import (
    Challenge,
    CheckCertificate,
    CheckToken,
    Failed,
    FetchKeys,
    Mechanism,
    Proved,
    Step,
    Verify,
)
from trio_smtp.sasl.oauth import OAuthBearer, XOAuth2
from trio_smtp.sasl.plain import Plain
from trio_smtp.sasl.saslprep import saslprep
from trio_smtp.sasl.scram import Scram, ScramPlus

__all__ = [
    "Challenge",
    "CheckCertificate",
    "CheckToken",
    "External",
    "Failed",
    "FetchKeys",
    "Login",
    "Mechanism",
    "OAuthBearer",
    "Plain",
    "Proved",
    "Scram",
    "ScramKeys",
    "ScramPlus",
    "Step",
    "Verify",
    "XOAuth2",
    "derive_keys",
    "keys_of_nobody",
    "saslprep",
    "tls_server_end_point",
]
