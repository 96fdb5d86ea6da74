"""Every dependency is used: it is imported, or is named here with the reason."""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = [*PROJECT.glob("agents/**/*.py"), *PROJECT.glob("chat/**/*.py"), *PROJECT.glob("config/**/*.py")]

#: Dependencies that our code does not import. A further one is one line, with the reason.
NOT_IMPORTED = {
    "argon2-cffi": "Django's password hasher imports it",
    "linkify-it-py": "markdown-it-py finds bare addresses by it",
    "numpy": "Qwen-Agent imports it, and does not declare it",
    "openai": "Qwen-Agent imports it, and takes any version",
    "pydantic-monty": "brings the sandbox, whose client is imported",
    "python-dateutil": "Qwen-Agent imports it, and does not declare it",
    "soundfile": "Qwen-Agent imports it, and does not declare it",
    "tqdm": "Qwen-Agent imports it, and does not declare it",
    "tzdata": "zoneinfo reads it where the system has no time zones",
}
#: Imported, but not listed as a dependency, because a listed one is built on it.
PART_OF = {
    "anyio": "mcp",
    "asgiref": "django",
    "autobahn": "daphne",
    "kombu": "celery",
    "opentelemetry-api": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-proto": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk": "opentelemetry-exporter-otlp-proto-http",
    "pyjwt": "django-allauth",
    "psycopg-pool": "psycopg",
    "pydantic-monty-client": "pydantic-monty",
    "redis": "channels-redis",
    "requests": "django-allauth",
    "twisted": "daphne",
}


def declared() -> set[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    return {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}


def imported() -> set[str]:
    """The distributions that files of the product import in any way."""
    ours = {*sys.stdlib_module_names, "agents", "chat", "config"}
    found = {name for file in PRODUCT for name in _imports(file) if name.partition(".")[0] not in ours}
    return {canonicalize_name(owner) for name in found for owner in _owners(name)}


@cache
def _by_package() -> Mapping[str, list[str]]:
    """Which distributions contain each package: from their lists of files, which takes seconds."""
    return packages_distributions()


@cache
def _files_of(owner: str) -> list[str]:
    return [str(file) for file in files(owner) or ()]


def _owners(module: str) -> list[str]:
    """The distributions of a module, or of a name in it: where several share a package, the one that has the module."""
    top = module.partition(".")[0]
    owners = _by_package().get(top, [top])
    if len(set(owners)) == 1:
        return owners
    for path in (module.replace(".", "/"), module.rpartition(".")[0].replace(".", "/")):
        begins = (f"{path}/", f"{path}.py")
        having = [name for name in owners if any(file.startswith(begins) for file in _files_of(name))]
        if having:
            return having
    return owners


def _imports(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_bytes())
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    left_out = {inner for node in typed for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_each_dependency_is_used_or_has_its_reason() -> None:
    unused = declared() - imported()
    assert unused == set(NOT_IMPORTED), "imported by nobody, or by somebody by now"


def test_every_imported_package_is_a_dependency() -> None:
    # Part of the standard library from Python 3.14 on.
    assert imported() - declared() - {"compression"} == set(PART_OF)
    assert set(PART_OF.values()) <= declared()


@pytest.mark.parametrize("package", sorted(PART_OF))
def test_a_package_within_another_is_a_dependency_of_it(package: str) -> None:
    needed = {canonicalize_name(Requirement(line).name) for line in requires(PART_OF[package]) or ()}
    assert package in needed
