"""TLS for ``trio-smtp serve``: the certificates of each kind of listener, reloaded while the server runs.

Only listeners with login request a client certificate (``--tls-client-ca``). On the others, a mail server that delivers
here may have a certificate of an authority that is not in this file, and its handshake would fail.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import trio

from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.listen import Scheme
from trio_smtp.cli.settings import KeyPair, ServeSettings, StoreURL
from trio_smtp.server import CertificateError, Certificates

__all__ = ["certificates_by_scheme", "kept_fresh", "self_signed_maker"]

log = logging.getLogger("trio_smtp")


def certificates_by_scheme(settings: ServeSettings, pairs: Sequence[KeyPair]) -> dict[Scheme, Certificates]:
    """The certificates for each scheme that is listened on and has TLS; none if there are no pairs.

    Raises:
        CommandError: if a file cannot be used.
    """
    if not pairs:
        return {}
    authorities = {
        spec.scheme: settings.tls_client_ca if spec.scheme.login else None
        for spec in settings.listen
        if spec.scheme.tls != "never"
    }
    try:
        made = {
            authority: Certificates(pairs, authority, channel_binding=settings.channel_binding)
            for authority in set(authorities.values())
        }
    except CertificateError as error:
        raise CommandError(f"{error}; see --tls-cert, --tls-key and --tls-client-ca") from error
    return {scheme: made[authority] for scheme, authority in authorities.items()}


def self_signed_maker() -> Callable[[StoreURL, str], AbstractContextManager[tuple[Path, str]]]:
    """The function `self_signed`.

    Raises:
        CommandError: if the package cryptography, which it needs, is not installed.
    """
    try:
        from trio_smtp.cli.self_signed import self_signed  # noqa: PLC0415 - cryptography is an extra
    except ImportError as error:
        raise CommandError(
            "--tls self-signed needs the package cryptography; run python -m pip install cryptography"
        ) from error
    return self_signed


@asynccontextmanager
async def kept_fresh(certificates: Collection[Certificates]) -> AsyncGenerator[Callable[[], None]]:
    """Until the block ends, reload certificates when their files change and when the yielded function is called."""
    with _no_word_of_bad_names():
        async with trio.open_nursery() as nursery:
            for each in certificates:
                nursery.start_soon(each.watch)
            yield lambda: nursery.start_soon(_reload, certificates)  # its caller must not wait, but handle signals
            nursery.cancel_scope.cancel()


async def _reload(certificates: Collection[Certificates]) -> None:
    for each in certificates:
        await each.reload()
    if not certificates:
        log.info("there are no certificates to be read again")


@contextmanager
def _no_word_of_bad_names() -> Generator[None]:
    """Suppress the traceback that the ssl module prints for an SNI name that is not ASCII.

    The handshake also fails, and that is logged like any other failure.
    """
    usual = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
            usual(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
