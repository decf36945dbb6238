"""The call of a script as a Redis command, and its error as an exception."""

from __future__ import annotations

import hashlib
import re

import pytest
from redis.exceptions import ConnectionError, ResponseError

from runnel.errors import Conflict, Fenced, ProtocolError
from runnel.protocol import scripts
from runnel.protocol.scripts import Call, by_sha, error_from, folder, sha, sources


@pytest.mark.parametrize("script", sorted(sources()))
def test_a_script_is_known_by_the_sha_of_its_file(script: str) -> None:
    data = (folder() / f"{script}.lua").read_bytes()
    assert sha(script) == hashlib.sha1(data, usedforsecurity=False).hexdigest()
    assert by_sha()[sha(script)] == data


def test_a_call_is_an_evalsha_with_its_keys_before_its_arguments() -> None:
    call = Call("commit", ("log", "meta"), ("printer", 7))
    assert call.command() == ("EVALSHA", sha("commit"), 2, "log", "meta", "printer", 7)
    assert Call("tick", (), ()).command() == ("EVALSHA", sha("tick"), 0)


def test_the_version_changes_with_any_script(monkeypatch: pytest.MonkeyPatch) -> None:
    version = scripts.version
    before = version()
    assert re.fullmatch("[0-9a-f]{7}", before)
    monkeypatch.setattr(scripts, "sha", lambda name: "0" * 40 if name == "tick" else sha(name))
    version.cache_clear()
    try:
        assert version() != before
    finally:
        version.cache_clear()


def test_a_known_error_word_becomes_an_exception_with_the_details_of_the_text() -> None:
    error = error_from(ResponseError("CONFLICT checkpoint=5-1 missing= stale"))
    assert type(error) is Conflict
    assert error.details == {"checkpoint": "5-1", "missing": "", "stale": ""}
    assert str(error).startswith("CONFLICT checkpoint=5-1")
    assert type(error_from(ResponseError("FENCED"))) is Fenced


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key"),
        ResponseError(""),
        ConnectionError("FENCED"),
    ],
)
def test_any_other_error_stays_as_it_is(error: Exception) -> None:
    assert error_from(error) is error
    assert not isinstance(error, ProtocolError)
