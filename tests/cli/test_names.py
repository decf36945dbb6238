"""How printed commands name what they are about."""

from __future__ import annotations

from typing import Any

from runnel.cli.names import Names

BILLING: dict[str, Any] = {"app": "shop", "stream": "orders", "name": "billing"}


def test_without_code_commands_name_app_and_stream() -> None:
    names = Names()
    assert names.codeless
    assert names.target(BILLING) == "shop/orders@billing"
    assert names.look(BILLING, 3) == "runnel inspect shop/billing 3"
    assert names.show(BILLING, 3, "7-0") == "runnel show 3 7-0 --app shop --stream orders"


def test_with_code_commands_name_the_module() -> None:
    names = Names("example", "example:app")
    assert not names.codeless
    assert names.target(BILLING) == "example:billing"
    assert names.look(BILLING, 3) == "runnel inspect example:app billing 3"
    assert names.show(BILLING, 3, "7-0") == "runnel show example:app 3 7-0 --stream orders"


def test_a_url_that_was_given_goes_along_without_its_password() -> None:
    assert Names(redis_url="redis://h").at == " --redis-url redis://h"
    assert Names(redis_url="redis://:secret@h").at == " --redis-url URL"
    assert (
        Names(redis_url="redis://h").target(BILLING) == "shop/orders@billing --redis-url redis://h"
    )
