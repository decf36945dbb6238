"""The type of options that take an address to listen at."""

from __future__ import annotations

import re
from typing import Any

import click

#: A host, an IPv6 address in brackets, or nothing; and a port.
_ADDRESS = re.compile(r"(?:\[([\da-fA-F:.]+)\]|([^:\[\]/\s]*)):(\d{1,5})")


class Address(click.ParamType):  # type: ignore[type-arg]
    """HOST:PORT, or :PORT for the loopback address: what is served has no login, so that others
    reach it takes a host, such as 0.0.0.0 for all addresses of the machine."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The host and the port."""
        if isinstance(value, tuple):
            return value
        found = _ADDRESS.fullmatch(str(value))
        if found is None or int(found[3]) > 65535:
            self.fail(f"{value!r} is not an address such as 127.0.0.1:9109, [::1]:9109 or :9109.")
        return found[1] or found[2] or "127.0.0.1", int(found[3])


def is_address(text: str) -> bool:
    """Does this end with a port, and is it no TARGET?"""
    return _ADDRESS.fullmatch(text) is not None
