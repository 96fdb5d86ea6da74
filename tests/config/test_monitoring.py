"""The rules and the dashboard for Prometheus use metrics that exist, and each alert fires when it should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat.runtime import metrics
from chat.serving import gauges

FOLDER = Path(__file__).resolve().parents[2] / "config" / "monitoring"
#: Metrics of the Python client about a process, and those of Prometheus itself.
OF_OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    panels = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))["panels"]
    yield from (target["expr"] for panel in panels for target in panel["targets"])


def names_of_series() -> set[str]:
    """Every series of a process, by the names that queries use."""
    gauges_everywhere = {"queued_runs", "active_runs", "waiting_sessions", "oldest_queued_seconds"}
    found = {f"thinkaloud_{name}" for name in gauges_everywhere}
    for family in metrics.REGISTRY.collect():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        found |= {family.name + end for end in ends}
    return found


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_a_query_names_figures_that_there_are(query: str) -> None:
    assert gauges.gauges is not None
    asked = set(re.findall(r"\b(?:thinkaloud|process)_\w+", query))
    assert asked
    assert asked <= names_of_series() | OF_OTHERS


def test_each_rule_says_what_to_do_and_is_tested() -> None:
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text("utf-8"))["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules()}
    assert all({"summary", "action"} <= rule["annotations"].keys() for rule in rules())


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_prometheus_itself_takes_the_rules(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    done = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
