"""The probes of a worker."""

from __future__ import annotations

import re

import pytest

from runnel.cli.http_server import Reply
from runnel.cli.probes import Answer, answer
from tests.cli.test_http_server import ask


def metrics() -> Reply:
    return Reply(200, "application/json", b'{"up": 1}')


@pytest.mark.parametrize(
    ("alive", "ready", "statuses"),
    [(True, True, (200, 200)), (True, False, (200, 503)), (False, False, (503, 503))],
)
def test_each_probe_has_its_status_and_both_the_reason(
    alive: bool, ready: bool, statuses: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("127.0.0.1", 0, lambda: Answer(alive, ready, {"problems": ["why"]}), metrics)
    where = r"http://127\.0\.0\.1:(\d+)"
    said = re.fullmatch(
        rf"probes: {where}/healthz and /readyz · {where}/metrics\n", capsys.readouterr().err
    )
    assert said
    found = [ask(int(said[1]), path) for path in ("/healthz", "/readyz?verbose")]
    assert [status for status, _ in found] == list(statuses)
    assert [body for _, body in found] == [{"problems": ["why"]}] * 2
    assert ask(int(said[1]), "/metrics") == (200, {"up": 1})
