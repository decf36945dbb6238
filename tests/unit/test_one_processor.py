"""A processor is found by its name among those of its app."""

from __future__ import annotations

import pytest

from runnel.errors import ConfigError
from runnel.operations.one_processor import find, needed

KNOWN = {("orders", "billing"), ("orders", "mail"), ("parcels", "mail")}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("billing", ("orders", "billing")),
        ("orders@billing", ("orders", "billing")),
        ("parcels@mail", ("parcels", "mail")),
    ],
)
def test_its_name_is_enough_unless_two_streams_have_one(
    wanted: str, found: tuple[str, str]
) -> None:
    assert find("shop", wanted, KNOWN) == found


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("mail", "app 'shop' has several processors 'mail': orders@mail, parcels@mail"),
        ("biling", "no processor 'biling'; did you mean 'billing'?; there is orders@billing, "),
        ("parcels@billing", "no processor 'parcels@billing'; did you mean 'billing'?"),
        ("zzz", "no processor 'zzz'; there is orders@billing, orders@mail, parcels@mail"),
    ],
)
def test_another_name_is_refused_with_those_that_there_are(wanted: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find("shop", wanted, KNOWN)
    assert says in str(refused.value)
    with pytest.raises(ConfigError, match="there is none"):
        find("shop", wanted, ())


def test_a_report_on_it_also_reads_those_that_read_its_dead_letters() -> None:
    reader = ("orders.billing.dead", "complaints")
    found = needed(("orders", "billing"), "orders.billing.dead", {*KNOWN, reader})
    assert found == {("orders", "billing"), reader}
