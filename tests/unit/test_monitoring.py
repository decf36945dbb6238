"""The rules, the dashboard and the scalers in `examples/monitoring` fit what exporter and workers
emit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from runnel import keys
from runnel.metrics import families
from runnel.metrics.exporter import PARTITION_STATES, PROCESSOR_STATES, Scrape, exposition
from runnel.metrics.tally import FAMILIES, Tally
from tests.cli.reports import report, stream, with_dead_letters

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "examples" / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


def of_exporter() -> bytes:
    """What the exporter emits."""
    seen = with_dead_letters(3, [])
    seen["processors"][0]["tables"] = [{"name": "totals", "keys": 1, "bytes": 2}]
    seen["streams"] = [stream()]
    return exposition(Scrape(seen, 0.1, 1.0))


def samples(text: bytes) -> dict[str, set[str]]:
    """Sample -> its labels."""
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def of_workers() -> list[Metric]:
    """What workers emit."""
    tally = Tally()
    for each in FAMILIES:
        if each.buckets:
            tally.histogram(each, *each.labels).observe(1.0)
        else:
            tally.counter(each, *each.labels).value = 1
    return [*families.families_of(tally), *families.processes(1, 0.0)]


OF_EXPORTER = samples(of_exporter())
EMITTED = OF_EXPORTER | samples(families.exposition(of_workers()))
#: An expression: metric, and what is in braces.
SELECTOR = re.compile(r"(runnel_\w+)(?:\{([^}]*)\})?")


def check(expression: str) -> None:
    """Fail if an expression asks for a metric, a label or a state that there is not."""
    found = SELECTOR.findall(expression)
    assert found, expression
    for name, braces in found:
        assert name in EMITTED, expression
        chosen = dict(re.findall(r'(\w+)=~?"([^"]*)"', braces))
        assert set(chosen) <= EMITTED[name], expression
        if "state" in chosen:
            states = PROCESSOR_STATES if "processor_state" in name else PARTITION_STATES
            assert chosen["state"] in states
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        assert {each.strip() for each in labels.split(",")} <= EMITTED[found[-1][0]], expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_asks_for_what_there_is_and_has_its_runbook(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text()
    heads = [
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-")
        for each in re.findall(r"^## (.*)$", text, re.M)
    ]
    assert anchor in heads
    assert rule["alert"] in text
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert any(label in EMITTED[name] for name, _ in SELECTOR.findall(rule["expr"]))


def test_each_metric_of_workers_is_explained() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    for each in FAMILIES:
        assert f"`{each.name}{'' if each.buckets else '_total'}`" in text


def test_the_table_of_metrics_has_what_the_exporter_emits() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    page = text.partition("### Of partitions")[2].partition("### Of workers")[0]
    explained = set[str]()
    for line in re.findall(r"^\| `runnel_.*$", page, re.M):
        first, *others = re.findall(r"`(\w+)`", line.split("|")[1])
        prefix = "_".join(first.split("_")[:2])
        names = [first, *(each if each[0] != "_" else prefix + each for each in others)]
        explained |= set(names)
        labels = {each.strip() for each in re.split(r", |… and", line.split("|")[2])} - {""}
        for each in names:
            found = OF_EXPORTER.get(each, {"no such metric"}) - {"app"}
            assert "labels" in line.split("|")[2] or "…" in line or found == labels, each
    assert explained == set(OF_EXPORTER)


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    assert len(expressions) >= 8
    for each in expressions:
        check(each)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            check(variable["definition"])


def test_the_scalers_ask_for_what_there_is() -> None:
    triggers = {
        each["type"]: each["metadata"]
        for each in yaml.safe_load((FOLDER / "keda.yaml").read_text())["spec"]["triggers"]
    }
    value: Any = report()
    for each in triggers["metrics-api"]["valueLocation"].split("."):
        value = value[each]
    assert isinstance(value, int)
    check(triggers["prometheus"]["query"])
    log = keys.log(keys.partition("shop", "orders", 0, "orders"))
    assert triggers["redis-streams"]["stream"] == log
