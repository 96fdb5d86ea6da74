"""What the tests need of the machine and its system's packages: a browser, and the programs that stand around a large installation."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.shell import BootstrapError, log_line, run_quietly

#: The same browser without its windows: it shows pages in half the time.
HEADLESS_BROWSERS = ("chromium-headless-shell", "chrome-headless-shell")
WHOLE_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: What stands around the product where it is large: programs, and Debian's packages that bring them.
PROGRAMS = {"pgbouncer": "pgbouncer", "nginx": "nginx", "promtool": "prometheus"}
#: The browsers beside Chromium, and what shows them, likewise; their tests are skipped where they are missing.
OTHER_BROWSERS = {"firefox": "firefox-esr", "WebKitWebDriver": "webkit2gtk-driver", "Xvfb": "xvfb"}


def find_chromium(python: Path, names: tuple[str, ...] = (*HEADLESS_BROWSERS, *WHOLE_BROWSERS)) -> str | None:
    """Return a Chromium or Chrome that starts: the one ``CHROMIUM`` names, the machine's, or the one Playwright downloaded."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    for name in names:
        found = shutil.which(name)
        if found and browser_starts(found):
            return found
    own = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    asked = subprocess.run([python, "-c", own], capture_output=True, text=True, check=False)
    downloaded = asked.stdout.strip()
    return downloaded if downloaded and Path(downloaded).exists() and browser_starts(downloaded) else None


def set_chromium(python: Path) -> bool:
    """Find a browser and write down where it is for the tests."""
    found = find_chromium(python)
    os.environ["CHROMIUM"] = found or ""
    return found is not None


def browser_starts(browser: str) -> bool:
    """Whether a browser renders a page; one whose system libraries are missing doesn't."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
        try:
            shown = subprocess.run([*command, "data:text/html,ready"], capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return b"ready" in shown.stdout


def install_headless_shell() -> None:
    """Install a browser without windows by Debian's package, where that can be; asks no Python of an environment."""
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, HEADLESS_BROWSERS)):
        _install_browser(_by_package("chromium-headless-shell"))


def install_chromium(python: Path) -> None:
    """See to it that there is a browser: whichever is installed, else a download."""
    attempts = ([[str(python), "-m", "playwright", "install", "chromium"]], _by_package("chromium"))
    if set_chromium(python) or any(_install_browser(commands) and set_chromium(python) for commands in attempts):
        return
    raise BootstrapError("The tests need a browser: install Chromium or Chrome (Debian: apt install chromium).")


def install_other_browsers() -> None:
    """Install each of `OTHER_BROWSERS` that is missing, where that can be."""
    for program, package in OTHER_BROWSERS.items():
        if shutil.which(program) is None:
            _install_browser(_by_package(package))


def _by_package(name: str) -> list[list[str]]:
    """The commands that install a package of Debian's, where this user can."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return []
    return [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", name]]


def _install_browser(commands: list[list[str]]) -> bool:
    """Run what may bring a browser, if it is anything; whether all of it could be done."""
    if commands:
        log_line("Bringing a browser for the tests")
    with contextlib.suppress(BootstrapError):
        for command in commands:
            run_quietly(command, "bringing a browser", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        return bool(commands)
    return False


def install_programs() -> None:
    """See to it that the programs of `PROGRAMS` are there; by Debian's packages where they are not."""
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BootstrapError(f"These tests need {' and '.join(missing)}; install them.")
    log_line(f"Installing {' and '.join(missing)}")
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *missing]):
        run_quietly(command, f"installing {' and '.join(missing)}", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
