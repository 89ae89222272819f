"""Conversion of the values of flags: sizes, times, endpoints, addresses, files."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from trio_smtp.cli import values
from trio_smtp.cli.values import Endpoint


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("1", 1),
        ("500000", 500_000),
        ("512K", 524_288),
        ("10M", 10_485_760),
        ("2G", 2_147_483_648),
        (f"{2**33 - 1}G", 2**63 - 2**30),
    ],
)
def test_size(text: str, octets: int) -> None:
    assert values.size(text) == octets


@pytest.mark.parametrize("text", ["", "K", "1k", "1 M", "0K", "-1", "1e3", "9" * 16, f"{2**33}G"])
def test_no_size(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.size(text)


@pytest.mark.parametrize(("text", "span"), [("30", 30.0), ("0.5", 0.5), ("000000001.0", 1.0)])
def test_seconds(text: str, span: float) -> None:
    assert values.seconds(text) == span


@pytest.mark.parametrize("text", ["", "0", "0.0", "-1", "1e3", ".5", "1_0", "٣", "9" * 10])
def test_no_seconds(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.seconds(text)


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("127.0.0.1:1025", Endpoint("127.0.0.1", 1025), "127.0.0.1:1025"),
        ("[::1]:0", Endpoint("::1", 0), "[::1]:0"),
        ("[fe80::1%eth0]:25", Endpoint("fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
        ("mx-1.example.com:65535", Endpoint("mx-1.example.com", 65535), "mx-1.example.com:65535"),
    ],
)
def test_endpoint(text: str, endpoint: Endpoint, shown: str) -> None:
    assert values.endpoint(text) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize("text", ["", ":25", "host", "host:", "host:-1", "host:65536", "[::1]", "::1:25", "a..b:25"])
def test_no_endpoint(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="HOST:PORT"):
        values.endpoint(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("demo@example.com", "demo@example.com"),
        ('"demo"@example.com', "demo@example.com"),
        ('"a b"@example.com', '"a b"@example.com'),
        ("jörg@bücher.example", "jörg@bücher.example"),
    ],
)
def test_address(text: str, address: str) -> None:
    assert values.address(text) == address


@pytest.mark.parametrize("text", ["", "demo", "postmaster", "<demo@example.com>", "a@b c", "a@b\n", "\udcff@b"])
def test_no_address(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a mail address"):
        values.address(text)


def test_an_address_that_is_too_long() -> None:
    with pytest.raises(ArgumentTypeError, match="cannot be used: the address is too long: 64 octets before the @"):
        values.address("x" * 65 + "@example.com")


def test_account_is_split_at_the_first_equals_sign() -> None:
    assert values.account("demo=a=b@example.com") == ("demo", "a=b@example.com")


@pytest.mark.parametrize("text", ["metrics.prom", "./..", "/var/lib/ü", "-"])
def test_file(text: str) -> None:
    assert values.file(text) == Path(text)


@pytest.mark.parametrize("text", ["", ".", "/", "./", "//"])
def test_no_file(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not the path of a file"):
        values.file(text)
