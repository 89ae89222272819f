"""The server's certificates: the contexts that show them, which one a client sees, and reading them again.

Rules:

- **A context in use is never loaded again.** A certificate and key that do not match would leave it with nothing to
  show. New files make new contexts, which replace the old ones when all of them are good. A connection keeps the
  context that it began with.
- **Each new context is tried out by a handshake in memory.** That shows the certificate and its names as they were
  loaded, even if a file is replaced at that moment, and it finds a pair that no client could use before a client does.
- **SNI (RFC 6066 §3) selects the certificate and never fails the handshake.** For an unknown name the client gets the
  first certificate, as from any mail server, and decides whether to accept it.
- **A TLS session is resumed where it began, or nowhere.** The ticket keys belong to one reading of one `Certificates`.
  So a client that was verified there is not taken as verified by another one, or after the next reload.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import trio

from trio_smtp.server.channel_binding import remember_certificate
from trio_smtp.server.log import log

__all__ = [
    "AnyContext",
    "CertificateError",
    "Certificates",
    "current_context",
    "server_context",
    "verified_certificate",
]

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, for which the ssl module has no name
_CERTIFICATE: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_KEY: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_LOCKED: Final = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|\nProc-Type: 4,ENCRYPTED")
_OTHER_KEY: Final = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}  # the latter for a key of another kind


def server_context(
    certificate: Path | str, key: Path | str | None = None, *, channel_binding: bool = False
) -> ssl.SSLContext:
    """A context for a mail server: TLS 1.2 at least, no renegotiation.

    Args:
        certificate: a PEM file with the certificate and its intermediate certificates.
        key: a PEM file with the private key, without a passphrase, if it is not in the same file.
        channel_binding: whether to offer SCRAM-SHA-256-PLUS, too, bound by ``tls-server-end-point`` (RFC 5929 §4). Some
            clients, such as mutt, lack this type of binding but choose PLUS wherever it is offered, and fail.

    Raises:
        OSError, ssl.SSLError: if the files cannot be read, do not match, or no client could use the certificate.
    """
    return _load(certificate, key, channel_binding)[0]


class CertificateError(Exception):
    """Certificate files that cannot be used; the text is one sentence that names them."""


class Certificates:
    """The certificates of a server, to be given to `serve_smtp` and the other functions as `ssl_context`.

    Each new connection gets the certificates that were read last. `watch` reads the files again when they change,
    `reload` at once. If they cannot be used, that is logged, and the previous certificates stay in use.

    Args:
        pairs: PEM files of certificate and key, the key None where it is in the file of the certificate. A client that
            asks for a name (SNI) sees the first certificate that has it or, if none has, the first with a wildcard for
            it (RFC 9525 §6.3); every other client sees the first of all.
        client_authority: a PEM file of the authorities for client certificates. With it, clients are asked for a
            certificate. They need not have one, but it must be valid: `TLSInfo.client_name` is the name in it.
        channel_binding: see `server_context`.

    Raises:
        CertificateError: if any of the files cannot be used.
        TypeError: if the files are not in pairs.
        ValueError: if there is no pair.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path | str, Path | str | None]],
        client_authority: Path | str | None = None,
        *,
        channel_binding: bool = False,
    ) -> None:
        if not pairs:
            raise ValueError("at least one certificate is needed")
        if isinstance(pairs, Path) or not all(map(_is_pair, pairs)):
            raise TypeError("certificates must be a list of pairs: [(certificate, key)] or [(certificate, None)]")
        self._pairs = tuple(pairs)
        self._client_authority = client_authority
        self._channel_binding = channel_binding
        self._complaint = ""  # why the files could not be used at the last attempt
        self._turn = trio.Lock()
        self._served = self._read()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        return self._served.context

    async def watch(self, interval: float = 10) -> NoReturn:
        """Read the files again whenever they have changed, until cancelled; to be run in a nursery.

        Files that are replaced one after the other do not match in between. That, like any other fault, is logged once,
        and the files are read again until they can be used.

        Args:
            interval: seconds between two checks.
        """
        while True:
            await trio.sleep(interval)
            try:
                has_changed = await trio.to_thread.run_sync(self._marks, abandon_on_cancel=True) != self._served.marks
            except (RuntimeError, MemoryError) as error:
                self._complain(_shortage(error))
            else:
                if has_changed:
                    await self.reload()
                else:  # any fault has been undone, and is logged again when it comes back
                    self._complaint = ""

    async def reload(self) -> bool:
        """Read the files again now; return whether they are used. If not, nothing changes, and the log says why."""
        async with self._turn:
            try:
                self._served = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            except CertificateError as error:
                self._complain(str(error))
                return False
            except (RuntimeError, MemoryError) as error:
                self._complain(_shortage(error))
                return False
            self._complaint = ""
            with suppress(Exception):  # see `_complain`
                log.info("certificates read again: %s", ", ".join(str(certificate) for certificate, _ in self._pairs))
            return True

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            with suppress(Exception):  # a handler of the log that fails must not end `watch`, and with it the server
                log.error("%s; what was read before is served on", complaint)
        self._complaint = complaint

    def _read(self) -> _Served:
        marks = self._marks()  # first, so that `watch` notices changes from now on
        contexts = list[ssl.SSLContext]()
        by_name = dict[str, ssl.SSLContext]()
        for certificate, key in self._pairs:
            try:
                context, names = _load(certificate, key, self._channel_binding)
            except OSError as error:
                files = f"certificate {certificate}" if key is None else f"certificate {certificate} with key {key}"
                no_pem = isinstance(error, ssl.SSLError) and not error.reason  # OpenSSL gives no reason for that
                why = _fault(certificate, key) if no_pem else _reason(error)
                raise CertificateError(f"cannot use the {files}: {why}") from error
            if contexts and names <= by_name.keys():
                raise CertificateError(
                    f"the certificate {certificate} would never be used: other certificates have all its names"
                )
            contexts.append(context)
            by_name = {**dict.fromkeys(names, context), **by_name}
        for context in contexts:
            self._ask_clients(context)
        if len(contexts) > 1:
            _choose_by_name(contexts[0], by_name)
        return _Served(contexts[0], marks)

    def _ask_clients(self, context: ssl.SSLContext) -> None:
        if self._client_authority is None:
            return
        try:
            context.load_verify_locations(self._client_authority)
        except OSError as error:
            why = "it contains no certificate in PEM format" if isinstance(error, ssl.SSLError) else _reason(error)
            raise CertificateError(f"cannot use the authority {self._client_authority}: {why}") from error
        context.verify_mode = ssl.CERT_OPTIONAL
        # Python 3.13 sets these by default. With them, every certificate in the file is trusted, root or not.
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    def _marks(self) -> list[tuple[int, ...]]:
        """Values for each file that change if the file does."""
        paths = [path for pair in self._pairs for path in pair] + [self._client_authority]
        return [_mark(path) for path in paths if path is not None]


AnyContext: TypeAlias = ssl.SSLContext | Certificates
"""What a server takes for TLS: one context, or `Certificates` that can be read again."""


def current_context(context: AnyContext) -> ssl.SSLContext:
    """The context for a handshake that begins now."""
    return context.context if isinstance(context, Certificates) else context


def verified_certificate(tls: ssl.SSLObject) -> Mapping[str, Any]:
    """The fields of the peer's certificate; none if it has shown no valid one, or one with names that are not text."""
    try:
        return tls.getpeercert() or {}
    except UnicodeDecodeError:  # the names must be ASCII, and the ssl module trusts the authority to see to that
        return {}


class _Served(NamedTuple):
    """The contexts that were made from the files, and the marks of the files at that time."""

    context: ssl.SSLContext
    marks: list[tuple[int, ...]]


def _is_pair(files: object) -> bool:
    return isinstance(files, Sequence) and not isinstance(files, str) and len(files) == 2


def _shortage(error: RuntimeError | MemoryError) -> str:
    """What to log if there is no thread or no memory to read the files, which is no reason to stop serving."""
    return f"cannot read the certificates again: {str(error) or 'out of memory'}"


def _mark(path: Path | str) -> tuple[int, ...]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - the path may be a str
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _load(
    certificate: Path | str, key: Path | str | None, channel_binding: bool
) -> tuple[ssl.SSLContext, frozenset[str]]:
    """A context, and the DNS names in its certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client's cheap way to keep the server busy: CVE-2011-1473
    for path in (certificate, key):
        if path is not None:
            Path(path).open("rb").close()  # OpenSSL would not say which of them is missing
    context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL would ask for one at the terminal
    shown, names = _try_out(context, certificate)
    if channel_binding:
        remember_certificate(context, shown)
    return context, names


def _try_out(context: ssl.SSLContext, certificate: Path | str) -> tuple[bytes, frozenset[str]]:
    """Shake hands with a client that trusts this file; return the certificate it gets, in DER, and its DNS names."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(certificate)
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server) * 3:  # more than enough; once the handshake is done, further calls do nothing
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    names = verified_certificate(client).get("subjectAltName", ())
    dns_names = frozenset(name.lower() for kind, name in names if kind == "DNS")
    return client.getpeercert(binary_form=True) or b"", dns_names


def _choose_by_name(first: ssl.SSLContext, by_name: Mapping[str, ssl.SSLContext]) -> None:
    """Make the first context switch to the one for the name that a client asks for (SNI)."""

    def choose(handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        exact = (name or "").lower()
        wildcard = f"*.{exact.partition('.')[2]}"
        handshake.context = by_name.get(exact) or by_name.get(wildcard) or first

    first.sni_callback = choose


def _reason(error: OSError) -> str:
    """Why files were refused, worded for the middle of a sentence."""
    if not isinstance(error, ssl.SSLError):
        text = error.strerror or str(error)
        return text[:1].lower() + text[1:]
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"clients would reject it: {error.verify_message}"
    if error.reason in _OTHER_KEY:
        return "the key does not belong to the certificate"
    return error.reason.replace("_", " ").lower()


def _fault(certificate: Path | str, key: Path | str | None) -> str:
    """Why OpenSSL finds no certificate or no key in these files, guessed from the lines that begin a PEM block."""
    with suppress(OSError):
        key_pem = Path(key or certificate).read_bytes()
        if not _CERTIFICATE.search(Path(certificate).read_bytes()):
            return "there is no certificate in PEM format"
        if not _KEY.search(key_pem):
            return "there is no private key in PEM format"
        if _LOCKED.search(key_pem):
            return "the key has a passphrase"
    return "the certificate or the key is damaged"
