"""`Config` and `Limits`: their defaults, and the values that they refuse."""

from __future__ import annotations

import dataclasses

import pytest

from trio_smtp.protocol import Config, Limits, SMTPConnection


def test_defaults() -> None:
    """RFC 5321 §4.5.3.1 has minima for the command line and the recipients, RFC 4954 §4 one for AUTH."""
    limits = Limits()
    assert limits.command_line >= 512
    assert limits.recipients >= 100
    assert limits.auth_line == 12_288
    assert limits.message_size == 33_554_432
    config = Config()
    assert config.limits == limits
    assert (config.bare_newline, config.auth_requires_tls) == ("reject", True)
    assert not any((config.lmtp, config.dsn, config.verify, config.auth_required))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_limits_have_a_minimum(name: str) -> None:
    minimum = 512 if name == "command_line" else 1
    assert getattr(dataclasses.replace(Limits(), **{name: minimum}), name) == minimum
    for value in (minimum - 1, -1):
        with pytest.raises(ValueError, match=rf"Limits\.{name} must be at least {minimum}"):
            dataclasses.replace(Limits(), **{name: value})


@pytest.mark.parametrize("value", ["32M", 1e6, None])
def test_limits_are_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match=r"Limits\.message_size must be an int, not "):
        dataclasses.replace(Limits(), message_size=value)  # type: ignore[arg-type]  # a wrong type on purpose


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostname", b"mx.example"),
        ("hostname", None),
        ("limits", 5),
        ("lmtp", None),
        ("loose_paths", "no"),
        ("dsn", 1),
        ("verify", "no"),
        ("auth_requires_tls", ""),
        ("tls_required", "no"),
        ("auth_required", 0),
    ],
)
def test_what_is_of_another_type(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"Config\.{name} must be of type (str|Limits|bool), not "):
        dataclasses.replace(Config(), **{name: value})  # type: ignore[arg-type]  # a wrong type on purpose


@pytest.mark.parametrize("hostname", ["a", "mx.example", "[127.0.0.1]", "[IPv6:::1]", "x" * 255])
def test_hostname(hostname: str) -> None:
    connection = SMTPConnection(Config(hostname=hostname))
    connection.greet()
    connection.receive_data(b"EHLO c.example\r\n")
    connection.next_event()
    connection.accept()
    assert connection.data_to_send().count(hostname.encode()) == 2


@pytest.mark.parametrize("hostname", ["", "a b", "a\r\nb", "a\n", "é", "a\0", "\x7f", "x" * 256])
def test_hostname_that_cannot_go_out(hostname: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        Config(hostname=hostname)


def test_bare_newline_is_one_of_two() -> None:
    assert Config(bare_newline="keep").bare_newline == "keep"
    with pytest.raises(ValueError, match="'normalise'"):
        Config(bare_newline="normalise")  # type: ignore[arg-type]  # a wrong value on purpose


def test_what_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"Config\.without has the unknown extension 'AUTH'; known: \['8BITMIME', "):
        Config(without=["SMTPUTF8", "AUTH"])
    with pytest.raises(TypeError, match=r"Config\.without must be a collection of extensions, not the string 'SIZE'"):
        Config(without="SIZE")


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().lmtp = True  # type: ignore[misc]  # the assignment must fail
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().errors = 5  # type: ignore[misc]  # this one too
