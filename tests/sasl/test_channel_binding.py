"""The channel binding tls-server-end-point: RFC 5929 §4.1."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.sasl import tls_server_end_point


def certificate(algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate() if algorithm is None else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.com")])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + dt.timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("algorithm", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")]
)
def test_hash_of_the_signature(algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512, name: str) -> None:
    der = certificate(algorithm)
    assert tls_server_end_point(der) == hashlib.new(name, der).digest()


def test_signature_without_a_hash_of_its_own() -> None:
    assert tls_server_end_point(certificate(None)) is None


def test_certificate_that_is_cut_off() -> None:
    assert tls_server_end_point(certificate(hashes.SHA256())[:-1]) is None


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x82", b"\x30\x05abc", b"\x02\x01\x00", bytes(100)])
def test_not_a_certificate(der: bytes) -> None:
    assert tls_server_end_point(der) is None


@given(st.binary())
def test_any_octets(der: bytes) -> None:
    tls_server_end_point(der)
    tls_server_end_point(b"\x30\x84" + len(der).to_bytes(4) + der)
