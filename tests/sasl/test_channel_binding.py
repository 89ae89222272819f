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


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    octets = b"" if size < 128 else size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets) if octets else size]) + octets + content


def identifier(name: str) -> bytes:
    """Encode an object identifier: the first two numbers as one octet, the others with seven bits per octet."""
    first, second, *others = map(int, name.split("."))
    octets = bytearray([40 * first + second])
    for number in others:
        groups = [number >> shift & 0x7F for shift in range(28, -1, -7)]
        while len(groups) > 1 and not groups[0]:
            del groups[0]
        octets += bytes([*(0x80 | group for group in groups[:-1]), groups[-1]])
    return der(0x06, bytes(octets))


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("1.2.840.113549.1.1.4", "sha256"),  # SHA-256 replaces MD5 and SHA-1
        ("1.2.840.113549.1.1.5", "sha256"),
        ("1.2.840.10045.4.1", "sha256"),
        ("1.2.840.113549.1.1.11", "sha256"),
        ("1.2.840.113549.1.1.12", "sha384"),
        ("1.2.840.113549.1.1.13", "sha512"),
        ("1.2.840.10045.4.3.2", "sha256"),
        ("1.2.840.10045.4.3.3", "sha384"),
        ("1.2.840.10045.4.3.4", "sha512"),
        ("1.2.840.113549.1.1.10", None),  # RSASSA-PSS, whose parameters name the hash
    ],
)
@pytest.mark.parametrize("size", [0, 127, 128, 300, 70_000])
def test_hash_by_the_algorithm_of_the_signature(signature: str, name: str | None, size: int) -> None:
    form = der(0x30, der(0x30, bytes(size)) + der(0x30, identifier(signature) + der(0x05, b"")) + der(0x03, b"\0"))
    assert tls_server_end_point(form) == (None if name is None else hashlib.new(name, form).digest())


def test_signature_without_a_hash_of_its_own() -> None:
    assert tls_server_end_point(certificate(None)) is None


def test_certificate_that_is_cut_off() -> None:
    assert tls_server_end_point(certificate(hashes.SHA256())[:-1]) is None


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x82", b"\x30\x05abc", b"\x02\x01\x00", bytes(100)])
def test_not_a_certificate(der: bytes) -> None:
    assert tls_server_end_point(der) is None


@given(st.binary())
def test_any_octets(der: bytes) -> None:
    assert tls_server_end_point(der) is None
    assert tls_server_end_point(b"\x30\x84" + len(der).to_bytes(4) + der) is None
