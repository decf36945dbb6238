"""TLS: one server, a cluster and sentinels; with and without certificates of the clients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runnel.connection.connect import connect
from runnel.embedded.binary import Binary
from runnel.errors import ServerError
from runnel.preflight.server import check_server
from tests.certificates import Certificates
from tests.fleet import ClusterFleet, SentinelFleet
from tests.servers import Server, free_port

ROOT = Path(__file__).parent.parent.parent
ORDER = '{"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}'


@pytest.fixture(scope="module", params=[False, True], ids=["any-client", "known-clients"])
def clients(request: pytest.FixtureRequest) -> bool:
    """Whether clients must show a certificate."""
    return bool(request.param)


@pytest.fixture(scope="module")
def server(tls_binary: Binary, certificates: Certificates, clients: bool) -> Iterator[Server]:
    """A server with one port for TLS and one without."""
    options = certificates.options(free_port(), clients)
    with Server(tls_binary, appendonly="no", **options) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    """The port for TLS, without the options that a client needs."""
    return f"rediss://localhost:{server.options['tls_port']}"


def runnel(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "runnel", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("clients", [True], ids=["known-clients"], indirect=True)
def test_the_command_line_sends_and_inspects_over_tls(
    url: str, certificates: Certificates, clients: bool
) -> None:
    full = url + certificates.query(client=clients)
    sent = runnel("send", "tests.cli.shop:orders", ORDER, "--redis-url", full)
    assert sent.returncode == 0, sent.stderr
    seen = runnel("inspect", "--redis-url", full)
    assert seen.returncode == 0, seen.stderr
    assert str(certificates.folder) not in seen.stdout


async def test_what_is_wrong_with_the_tls_of_a_url_is_told_with_the_fix(
    server: Server, url: str, certificates: Certificates, clients: bool
) -> None:
    trusting = certificates.query()
    wrong = {
        url: "not trusted here: set ssl_ca_certs",
        url.replace("localhost", "127.0.0.1") + trusting: "for another name",
        f"rediss://localhost:{server.port}{trusting}": "If it speaks no TLS, write redis",
        url.replace("rediss", "redis"): "If it speaks TLS, write rediss in place of redis",
    }
    if clients:
        wrong[url + trusting] = "set ssl_certfile and ssl_keyfile"
    for bad, problem in wrong.items():
        async with connect(bad) as client:
            with pytest.raises(ServerError) as error:
                await check_server(client, bad)
        assert problem in str(error.value), bad


async def test_checks_can_be_left_out(url: str, certificates: Certificates, clients: bool) -> None:
    unchecked = certificates.query(client=clients, ssl_cert_reqs="none")
    unnamed = certificates.query(client=clients, ssl_check_hostname="false")
    for full in (url + unchecked, url.replace("localhost", "127.0.0.1") + unnamed):
        async with connect(full) as client:
            assert (await check_server(client, full)).mode == "standalone"


async def test_all_nodes_of_a_cluster_are_reached_over_tls(
    tls_binary: Binary, certificates: Certificates
) -> None:
    options = {**certificates.options(0, clients=False), "tls_cluster": "yes"}
    with ClusterFleet(tls_binary, options, replicas=False) as fleet:
        url = fleet.url + certificates.query(ssl_check_hostname="false")
        async with connect(url) as client:
            assert url.startswith("rediss+cluster://")
            assert (await check_server(client, url)).mode == "cluster"
            for number in range(20):
                assert await client.sadd(f"key{number}", "value") == 1


async def test_a_primary_is_found_over_tls(tls_binary: Binary, certificates: Certificates) -> None:
    options = {**certificates.options(0, clients=False), "tls_replication": "yes"}
    with SentinelFleet(tls_binary, options, replicas=1, sentinels=1) as fleet:
        url = fleet.url + certificates.query(ssl_check_hostname="false")
        async with connect(url) as client:
            assert url.startswith("rediss+sentinel://")
            assert (await check_server(client, url)).mode == "sentinel"
            assert await client.sadd("key", "value") == 1
