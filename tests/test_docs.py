"""The README is correct both ways: what it names exists, and what exists is named."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from agents.models.address_list import AddressList
from chat import protocol
from config.env_types import PublicUrl
from scripts import bootstrap

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text("utf-8")
CODE = re.findall(r"`([^`\n]+)`", README)
SCALING = (PROJECT / "SCALING.md").read_text("utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def settings_as_they_come() -> dict[str, Any]:
    """The settings of an installation that sets no variable (the suite has emptied every one)."""
    return runpy.run_path(str(PROJECT / "config" / "settings.py"))


def table(first_heading: str) -> list[list[str]]:
    """The rows of the first table whose first column has that heading."""
    rows = README.split(f"\n| {first_heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def as_written(value: object) -> str:
    """A default as the README writes it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, AddressList) and not value:
        return "empty"
    if isinstance(value, list):
        value = ",".join(value)
    return f"`{value}`" if value not in ("", None, {}, (), PublicUrl()) else "empty"


def test_the_table_holds_every_variable_and_no_other(settings_as_they_come: dict[str, Any]) -> None:
    documented = [re.sub("`", "", row[0]) for row in table("variable")]
    assert sorted(documented) == sorted(type(settings_as_they_come["env"]).model_fields)


@pytest.mark.django_db
def test_staff_are_told_of_a_right_to_every_table_of_the_admin() -> None:
    names = {name for row in table("permission") for name in re.findall(r"`([a-z]+\.\w+?)`", row[0])}
    for model in admin.site._registry:
        rights = {f"{model._meta.app_label}.{act}_{model._meta.model_name}" for act in ("view", "change", "add")}
        assert names & rights, rights
    known = {
        f"{right.content_type.app_label}.{right.codename}"
        for right in Permission.objects.select_related("content_type")
    }
    assert names <= known


def test_the_defaults_are_those_of_the_settings(settings_as_they_come: dict[str, Any]) -> None:
    account = settings_as_they_come["FIRST_ACCOUNT"]
    known = {
        **settings_as_they_come,
        **{f"DJANGO_SUPERUSER_{field.upper()}": value for field, value in account.items()},
    }
    written_in_words = {"DATA_DIR", "DATABASE_URL", "SECRET_KEY", "STATIC_ROOT"}
    documented = {re.sub("`", "", row[0]): row[1] for row in table("variable")}
    assert {name: default for name, default in documented.items() if name not in written_in_words} == {
        name: as_written(known[name]) for name in documented if name not in written_in_words
    }


@pytest.fixture(scope="module")
def targets() -> list[str]:
    """The targets of the Makefile."""
    phony = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    return phony[1].split()


def test_every_target_of_make_is_described_and_exists(targets: list[str]) -> None:
    assert sorted(row[0] for row in table("command")) == sorted(f"`make {target}`" for target in targets)
    assert set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join([*CODE, *BLOCKS]))) == set(targets)


def test_the_targets_are_the_verbs(targets: list[str]) -> None:
    with pytest.raises(bootstrap.BootstrapError, match=re.escape(", ".join(targets))):
        bootstrap.main([])


def test_every_address_it_names_leads_somewhere() -> None:
    addresses = {word for word in CODE if re.fullmatch(r"/[a-z/]+", word)}
    assert {"/admin/", "/healthz"} <= addresses
    # For a group of addresses, its beginning is named: /api/.
    assert [address for address in addresses if not leads_somewhere(address)] == []


def leads_somewhere(address: str) -> bool:
    try:
        resolve(address)
    except Resolver404 as nothing:
        return any(len(tried) > 1 for tried in nothing.args[0].get("tried", []))
    return True


def test_every_command_of_ours_is_described_and_every_named_one_exists() -> None:
    ours = {path.stem for path in (PROJECT / "chat/management/commands").glob("*.py") if path.stem != "__init__"}
    named = set(re.findall(r"manage\.py ([a-z_]+)", "\n".join([*CODE, *BLOCKS])))
    assert ours <= named
    assert named <= set(get_commands())


def test_every_file_it_names_exists() -> None:
    made = {"static/vendor/", "var/", ".venv", ".env"}
    paths = {
        word
        for word in CODE
        if re.fullmatch(r"[\w.][\w./-]*", word)
        and ("/" in word or word.endswith((".py", ".md", ".toml", ".lock", ".json")) or word == "LICENSE")
    }
    paths |= set(re.findall(r"(?<!/)(?:chat|agents|config|tests)/[\w/]*(?:\.py)?", "\n".join(BLOCKS)))
    paths |= set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))
    assert len(paths) > 10
    assert sorted(path for path in paths - made if not (PROJECT / path).exists()) == []


def test_the_page_about_scale_names_what_exists(settings_as_they_come: dict[str, Any]) -> None:
    named = re.findall(r"`([^`\n]+)`", SCALING)
    variables = {word.partition("=")[0] for word in named if re.match(r"[A-Z]+_[A-Z_]+(=|$)", word)}
    assert {"RUN_LEASE_S", "SHUTDOWN_S", "BROKER_URL"} <= variables
    assert variables <= set(type(settings_as_they_come["env"]).model_fields)
    files = {word for word in named if re.fullmatch(r"[\w/]+\.(py|md|yaml)", word)}
    assert len(files) > 2
    assert [file for file in files if not (PROJECT / file).exists()] == []
    services = set(re.findall(r"\b((?:web|worker)-\d|ticker|prepare)\b", SCALING))
    assert (
        services
        == set(re.findall(r"^  ([\w-]+):", (PROJECT / "compose.yaml").read_text("utf-8"), re.MULTILINE)) & services
    )
    assert len(services) == 6


def test_the_celery_settings_that_matter_are_set_as_told(settings_as_they_come: dict[str, Any]) -> None:
    rows = SCALING.split("\n| setting |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    kept = {name.removeprefix("CELERY_").lower() for name in settings_as_they_come if name.startswith("CELERY_")} | set(
        settings_as_they_come["CELERY_BROKER_TRANSPORT_OPTIONS"]
    )
    assert len(names) > 5
    assert names <= kept


def test_every_package_is_named() -> None:
    packages = {path.name for path in PROJECT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert packages == {"agents", "chat", "config", "scripts", "tests"}
    assert {f"{package}/" for package in packages} <= set(CODE)


#: The rows of the table of frames, and the module with their types.
OF_RUNS_WITHIN = {name for name in (*protocol.STORED, *protocol.UNSTORED) if name.startswith("child_")}
SPOKEN_BY = {
    "client": set(protocol.COMMANDS),
    "server, stored and numbered": set(protocol.STORED) - OF_RUNS_WITHIN,
    "server, the same about a run within the run": OF_RUNS_WITHIN,
    "server, not stored": {*protocol.UNSTORED, "error"} - OF_RUNS_WITHIN,
}


def test_the_frames_are_those_of_the_protocol() -> None:
    named = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in table("from")}
    assert named == SPOKEN_BY


def test_the_kinds_of_step_are_those_of_the_protocol() -> None:
    sentence = README.split("\nStep kinds: ", 1)[1].split(". ", 1)[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == set(protocol.STEP_TYPES)


def test_the_changelog_knows_the_version() -> None:
    version = re.search(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert f"\n## {version[1]}" in (PROJECT / "CHANGELOG.md").read_text("utf-8")


def first_steps(text: str) -> list[str]:
    """The commands, without their comments, and the settings of the table of models."""
    commands = [
        line.partition("#")[0].strip()
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    return [*commands, *re.findall(r"`(LLM_[A-Z_]+=[^`]+|--[a-z-]+|/v1)`", text)]


@pytest.mark.parametrize("language", ["zh-Hant", "zh-Hans"])
def test_the_first_steps_are_the_same_in_every_language(language: str) -> None:
    name = f"README.{language}.md"
    theirs = first_steps((PROJECT / name).read_text("utf-8"))
    assert {"make run", "make test"} < set(theirs)
    assert not set(theirs) - set(first_steps(README))
    assert set(re.findall(r"`LLM_MODEL_SERVER=[^`]+`", README)) == set(
        re.findall(r"`LLM_MODEL_SERVER=[^`]+`", (PROJECT / name).read_text("utf-8"))
    )
    assert f"({name})" in README
