"""Addresses to listen at, on the command line."""

from __future__ import annotations

import click
import pytest

from runnel.cli.address import Address, is_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9109", ("127.0.0.1", 9109)),
        (":9109", ("127.0.0.1", 9109)),
        ("0.0.0.0:9109", ("0.0.0.0", 9109)),
        ("[::]:9109", ("::", 9109)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert Address().convert(text, None, None) == expected
    assert is_address(text)


@pytest.mark.parametrize(
    "text", ["9109", "localhost", "localhost:", "::1:9109", "a b:1", "h:65536"]
)
def test_another_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"not an address such as 127\.0\.0\.1:9109"):
        Address().convert(text, None, None)


def test_a_target_is_no_address() -> None:
    assert not is_address("example:app")
