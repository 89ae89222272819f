"""The server side of SASL mechanisms (RFC 4422), as pure state machines: no I/O, no password lookup.

A mechanism takes the client's responses one by one. For each it returns the next step: a `Challenge` to send, a claim
of the client for the application to check (`Verify`, `FetchKeys`, `CheckToken`, `CheckCertificate`), `Proved` or
`Failed`. Each exchange needs a new object.
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
