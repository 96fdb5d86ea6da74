"""Runs the checks in parallel, each in its own thread and with a time limit; a check that fails or hangs does not affect the others."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from django.db import DatabaseError, connections

from agents import mask_text
from chat.doctor.findings import Check, Finding, Level

PATIENCE_S = 20.0
_NO_IDEA = "Check whether it exists and can be reached."


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finding, with the name of the check that it comes from."""

    check: str
    finding: Finding

    @property
    def level(self) -> Level:
        """How serious the finding is."""
        return self.finding.level


@dataclass(slots=True)
class _Running:
    name: str
    check: Check
    findings: list[Finding] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"doctor {self.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for finding in self.check():
                self.findings.append(finding)
        except Exception as error:  # noqa: BLE001 - whatever the check raises is its finding
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            action = "Correct the database and its migrations first." if isinstance(error, DatabaseError) else _NO_IDEA
            self.findings.append(Finding.fail(f"could not be checked ({reason[:300]})", action))
        finally:
            connections.close_all()

    def wait(self, until: float, patience_s: float) -> Iterator[CheckResult]:
        assert self.thread is not None  # noqa: S101 - started by `run_checks`
        self.thread.join(max(0.0, until - time.monotonic()))
        found = list(self.findings)
        if self.thread.is_alive():
            reason = f"has not answered within {patience_s:g} s"
            found.append(Finding.fail(reason, "Check whether a firewall drops packets to it."))
        for finding in found:
            yield CheckResult(self.name, Finding(finding.level, mask_text(finding.text), mask_text(finding.action)))


def run_checks(checks: Mapping[str, Check], patience_s: float = PATIENCE_S) -> Iterator[CheckResult]:
    """Run the checks, each for at most ``patience_s`` seconds, and yield their findings in the order of the checks, with secrets masked."""
    running = [_Running(name, check) for name, check in checks.items()]
    for each in running:
        each.start()
    until = time.monotonic() + patience_s
    for each in running:
        yield from each.wait(until, patience_s)
