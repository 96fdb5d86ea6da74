"""The data folder is only accessible to the account that runs the product."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chat.runtime import process_lock
from tests.serving import ROOT, Server


def open_to_others(folder: Path) -> dict[str, str]:
    """What in the folder other accounts may read or write, with its mode."""
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    return {name: f"{mode:o}" for name, mode in modes.items() if mode & 0o077}


#: What makes files in the data folder, each when it does not exist yet.
MAKERS = {
    "migrate": ["manage.py", "migrate", "-v0", "contenttypes"],
    "prepare": ["-m", "config.prepare"],
    "collectstatic": ["manage.py", "collectstatic", "--no-input", "-v0"],
}


#: "prepare" does what the others do.
@pytest.mark.parametrize(
    "maker", [pytest.param(maker, marks=[pytest.mark.long] * (maker == "prepare")) for maker in MAKERS]
)
def test_files_in_the_data_folder_are_private(tmp_path: Path, maker: str) -> None:
    folder = tmp_path / "data"
    subprocess.run(
        [sys.executable, *MAKERS[maker]],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder)},
        check=True,
        capture_output=True,
        umask=0o022,
    )
    assert any(folder.iterdir())
    assert open_to_others(folder) == {}


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "names"),
    [
        (0o700, 0o600, []),
        (0o700, 0o644, []),
        (0o755, 0o600, ["data"]),
        (0o755, 0o644, ["data", "db"]),
        (0o710, 0o600, ["data"]),
    ],
)
def test_a_folder_that_is_open_is_told_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    folder_mode: int,
    file_mode: int,
    names: list[str],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "db"
    file.touch()
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    monkeypatch.setattr(process_lock.settings, "DATA_DIR", folder)
    monkeypatch.setitem(process_lock.connection.settings_dict, "NAME", file)
    process_lock.warn_if_open()
    assert [record.args[0].name for record in caplog.records] == names  # type: ignore[index,union-attr]


def test_a_server_tells_at_its_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.prepare()
    server.data_dir.chmod(0o755)
    server.start()
    server.stop()
    assert f"can read {server.data_dir} (mode 755)" in "".join(server.output)
