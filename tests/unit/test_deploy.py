"""The files in `examples/deploy` are valid, and give a worker the time that it needs to end."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from runnel.cli import main
from runnel.settings import Settings

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "examples/deploy"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((FOLDER / "compose.yml").read_text())["services"]
UNIT = FOLDER / "runnel-worker@.service"
MANIFESTS: list[Any] = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
#: Seconds in which a worker ends, whatever it does: it waits for what runs, then gives up.
GRACE = Settings.model_fields["shutdown_timeout"].default + 1


def manifest(kind: str, name: str) -> Any:
    [found] = [
        each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


WORKER = manifest("Deployment", "shop-worker")["spec"]
POD = WORKER["template"]["spec"]
[CONTAINER] = POD["containers"]
COMMANDS = {
    "Dockerfile": re.findall(r'"([^"]+)"', DOCKERFILE.partition("\nCMD [")[2].partition("]")[0]),
    "systemd": UNIT.read_text().partition("bin/runnel ")[2].splitlines()[0].split(),
    "shop-worker": CONTAINER["args"],
    "runnel-exporter": manifest("Deployment", "runnel-exporter")["spec"]["template"]["spec"][
        "containers"
    ][0]["args"],
}


def options(arguments: list[str]) -> dict[str, Any]:
    """What the command line would run with. Fails if it has an option that there is not."""
    group = main
    assert isinstance(group, click.Group)
    name, *rest = arguments
    command = group.get_command(click.Context(group), name)
    assert command is not None, name
    with command.make_context(name, rest) as context:
        return context.params


@pytest.mark.parametrize("where", COMMANDS)
def test_the_command_lines_have_no_option_that_there_is_not(where: str) -> None:
    assert options(COMMANDS[where])


@pytest.mark.parametrize("each", MANIFESTS, ids=lambda each: each["kind"])
def test_the_manifests_are_valid(each: Any) -> None:
    kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_a_manifest_with_a_wrong_field_would_be_found() -> None:
    wrong = {**MANIFESTS[0], "spec": {**WORKER, "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_everything_gives_a_worker_the_time_that_it_needs_to_end() -> None:
    assert POD["terminationGracePeriodSeconds"] > GRACE
    assert float(COMPOSE["worker"]["stop_grace_period"].removesuffix("s")) > GRACE
    [timeout] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert int(timeout) > GRACE
    for arguments in COMMANDS.values():
        assert not any(each.startswith("--shutdown-timeout") for each in arguments)


def test_a_worker_gets_the_signal_itself() -> None:
    assert re.search(r'^ENTRYPOINT \["runnel"\]$', DOCKERFILE, re.M)
    assert "command" not in CONTAINER
    assert "lifecycle" not in CONTAINER


def test_the_probes_ask_the_port_that_the_worker_opens() -> None:
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == options(CONTAINER["args"])["health_port"]
    asked = {
        probe: CONTAINER[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")
    }
    assert asked == {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe in asked:
        assert CONTAINER[probe]["httpGet"]["port"] == port["name"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE


def test_one_worker_at_a_time_ends_in_a_deploy_and_when_nodes_are_drained() -> None:
    assert WORKER["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    budget = manifest("PodDisruptionBudget", "shop-worker")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = WORKER["template"]["metadata"]["labels"]
    assert labels == budget["selector"]["matchLabels"] == WORKER["selector"]["matchLabels"]


def test_the_service_leads_to_the_exporter() -> None:
    service = manifest("Service", "runnel-exporter")["spec"]
    pod = manifest("Deployment", "runnel-exporter")["spec"]["template"]
    assert service["selector"] == pod["metadata"]["labels"]
    [port] = pod["spec"]["containers"][0]["ports"]
    assert service["ports"][0]["targetPort"] == port["name"]
    _, served = options(COMMANDS["runnel-exporter"])["address"]
    assert served == port["containerPort"]


def test_a_container_is_not_root_and_the_memory_holds_what_a_worker_reads_ahead() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.M)
    limit = int(CONTAINER["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
    assert limit > 2 * Settings.model_fields["prefetch_bytes"].default
    assert "cpu" not in CONTAINER["resources"]["limits"]


def test_the_server_of_the_compose_file_keeps_what_it_has() -> None:
    command = " ".join(COMPOSE["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert COMPOSE["valkey"]["volumes"] == ["valkey:/data"]


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"),
    reason="no systemd-analyze here; on Debian: apt-get install systemd",
)
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    # It looks for the program, the user and the folder.
    for mine, here in (
        ("/srv/shop/.venv/bin/runnel", str(Path(sys.executable).parent / "runnel")),
        ("User=shop", "User=root"),
    ):
        assert mine in text
        text = text.replace(mine, here)
    unit = tmp_path / "runnel-worker@1.service"
    unit.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_unit_that_fails_for_good_is_not_started_again() -> None:
    [codes] = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.M)
    assert codes.split() == ["2", "4"]
    assert "Restart=on-failure\n" in UNIT.read_text()
