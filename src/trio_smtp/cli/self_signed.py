"""The certificate for ``--tls self-signed``: one file with certificate and key, kept with the mail.

No authority vouches for it, so the banner shows its fingerprint, by which clients can recognise it. The certificate is
used again at the next start, until it expires or the host has another name, so that the fingerprint rarely changes.
"""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trio_smtp.cli.errors import CommandError, reason
from trio_smtp.cli.settings import StoreURL
from trio_smtp.mailbox.json_file.files import Directory, lock

__all__ = ["self_signed"]

_FILE: Final = "self-signed.pem"
_LIFE: Final = timedelta(days=730)  # some systems reject certificates that are valid for more than 825
_RENEWED_BEFORE: Final = timedelta(days=30)
_LONGEST_COMMON_NAME: Final = 64  # of X.509


@contextmanager
def self_signed(store: StoreURL, hostname: str) -> Generator[tuple[Path, str]]:
    """The file of a certificate for this host, and its fingerprint. The file exists at least until the block ends.

    Args:
        store: a ``json:`` store, which must exist, keeps the file. For other stores it is temporary.
        hostname: a name in the certificate, in addition to ``localhost`` and the loopback addresses.

    Raises:
        CommandError: if the file cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder = store.path
            if store.kind != "json":
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-smtp-")))
            path = folder / _FILE
            with closing(Directory.at(str(folder), create=False)) as directory:
                lock(directory.fd, exclusive=True)  # another server of this store may start at the same moment
                certificate = _kept(path, hostname) or _make(directory, hostname)
        except OSError as error:
            raise CommandError(f"cannot save the self-signed certificate in {store}: {reason(error)}") from error
        yield path, certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _kept(path: Path, hostname: str) -> x509.Certificate | None:
    """The certificate of an earlier start, if it can still be used."""
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return None  # the file is missing or damaged
    good_until = certificate.not_valid_after_utc - _RENEWED_BEFORE
    is_good = (
        key.public_key() == certificate.public_key()
        and certificate.not_valid_before_utc <= datetime.now(UTC) < good_until
        and names == _names(hostname)
    )
    return certificate if is_good else None


def _make(folder: Directory, hostname: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_LONGEST_COMMON_NAME])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for clients whose clock is slow
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_names(hostname), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    folder.publish(_FILE, [pem])
    folder.sync()
    return certificate


def _names(hostname: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    try:
        addresses.append(ipaddress.ip_address(hostname.removeprefix("[").removesuffix("]").removeprefix("IPv6:")))
    except ValueError:
        names.insert(0, x509.DNSName(hostname))
    return x509.SubjectAlternativeName([*dict.fromkeys([*names, *map(x509.IPAddress, addresses)])])
