"""The words of `runnel inspect`."""

from __future__ import annotations

import click
import pytest

from runnel.cli.looked_at import LookedAt, read


@pytest.mark.parametrize(
    ("words", "app", "partition", "found"),
    [
        ("", None, None, LookedAt(None, None, None, None)),
        ("", "shop", None, LookedAt(None, "shop", None, None)),
        ("example:app", None, None, LookedAt("example:app", None, None, None)),
        ("example:app printer", None, None, LookedAt("example:app", None, "printer", None)),
        ("example:app printer 3", None, None, LookedAt("example:app", None, "printer", 3)),
        ("example:app a@printer", None, 3, LookedAt("example:app", None, "a@printer", 3)),
        ("example:printer 3", None, None, LookedAt("example:printer", None, None, 3)),
        ("example:printer", None, 0, LookedAt("example:printer", None, None, 0)),
        ("shop/printer", None, None, LookedAt(None, "shop", "printer", None)),
        ("shop/orders@printer 12", None, None, LookedAt(None, "shop", "orders@printer", 12)),
        ("printer 12", "shop", None, LookedAt(None, "shop", "printer", 12)),
        # It is refused later, with the hint to name a module.
        ("src/example.py", None, None, LookedAt("src/example.py", None, None, None)),
        ("example", None, None, LookedAt("example", None, None, None)),
    ],
)
def test_what_they_name(
    words: str, app: str | None, partition: int | None, found: LookedAt
) -> None:
    assert read(words.split(), app, partition) == found


@pytest.mark.parametrize(
    ("words", "app", "partition", "says"),
    [
        ("example:app printer 3 4", None, None, "'4' is one word too many"),
        ("example:app printer three", None, None, "'three' is one word too many"),
        ("example:app printer 3", None, 3, "give a PARTITION or --partition, not both"),
        ("shop/printer", "shop", None, "shop/printer names the app: leave --app out"),
        ("3", "shop", None, "of which processor? give TARGET"),
        ("", None, 3, "of which processor?"),
    ],
)
def test_words_that_name_nothing_are_refused(
    words: str, app: str | None, partition: int | None, says: str
) -> None:
    with pytest.raises(click.UsageError) as refused:
        read(words.split(), app, partition)
    assert says in refused.value.message
