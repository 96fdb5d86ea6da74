"""Rules that no linter knows. The layers are import-linter's, in ``pyproject.toml``."""

import ast
import functools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

#: The only module that writes a table. Rows that go with a deleted session are deleted by the database.
WRITERS = {
    "Run": ["runs/state.py"],
    "Step": ["store/step_log.py"],
    "StepContent": ["store/step_log.py"],
    "Draft": ["store/step_log.py"],
    "SentAlong": ["store/sent_along.py"],
    "RequestKey": ["runs/request_keys.py"],
    "File": ["store/files.py", "store/file_texts.py"],
    "FileChunk": ["store/files.py"],
    "FileText": ["store/file_texts.py"],
    "SessionFile": ["store/files.py"],
    "CaseFile": ["store/files.py"],
    "CaseSet": ["cases/commands.py"],
    "SetShare": ["cases/sharing.py"],
    "Case": ["cases/commands.py"],
    "SetRun": ["cases/set_runs.py"],
    "CaseResult": ["cases/set_runs.py"],
    "ImportedDocument": ["exports/importing.py"],
    "Thread": ["runs/threads.py"],
    "Process": ["live/connections.py"],
    "Connection": ["live/connections.py"],
    "Schedule": ["schedules/commands.py", "schedules/occurrences.py"],
    "Occurrence": ["schedules/occurrences.py"],
    "ToolServer": ["catalog/tool_servers.py"],
    "ModelServerFacts": ["catalog/model_facts.py"],
    "ModelCall": ["store/calls.py"],
    "ModelContent": ["store/calls.py"],
    "DailyUsage": ["store/calls.py"],
    "Agent": ["catalog/agent_versions.py", "catalog/built_in.py"],
    "AgentVersion": ["catalog/agent_versions.py", "catalog/built_in.py"],
    "EnteredServer": ["catalog/server_changes.py"],
    "McpServer": ["catalog/server_changes.py"],
    "AuditEntry": ["security/audit.py"],
    "Share": ["runs/sharing.py"],
    "ShareJoin": ["runs/sharing.py"],
    "SteeringWord": ["store/steering.py"],
    "IndexMove": ["schedules/handover.py"],
    "OwnerOffer": ["schedules/handover.py"],
    "AuditPurge": ["security/audit.py"],
    "Chore": ["store/chores.py"],
    "WaitingCall": ["runs/waiting.py"],
    "StandingApproval": ["runs/waiting.py"],
    "Verdict": ["runs/notes.py"],
    "Comment": ["runs/notes.py"],
    "ApiToken": ["security/tokens.py"],
    "TraceCursor": ["traces/cursor.py"],
    "TracedRun": ["traces/cursor.py"],
    "Mail": ["store/mails.py"],
    "Webhook": ["store/webhooks.py"],
    "WebhookDelivery": ["store/webhooks.py"],
}
#: The names by which rows of that table, or a session's or user's rows, are used in the code.
CALLED = {
    "Run": {"Run", "run", "runs"},
    "Step": {"Step", "step", "steps"},
    "StepContent": {"StepContent", "full_content"},
    "Draft": {"Draft", "draft"},
    "SentAlong": {"SentAlong", "sent_along"},
    "RequestKey": {"RequestKey"},
    "File": {"File"},
    "FileChunk": {"FileChunk", "chunks"},
    "FileText": {"FileText"},
    "SessionFile": {"SessionFile", "used_files", "uses"},
    "CaseFile": {"CaseFile"},
    "CaseSet": {"CaseSet", "case_set", "case_sets"},
    "SetShare": {"SetShare", "set_share", "set_shares"},
    "Case": {"Case", "case", "cases"},
    "SetRun": {"SetRun", "set_run", "set_runs"},
    "CaseResult": {"CaseResult", "result", "results"},
    "Thread": {"Thread", "threads", "named"},
    "Process": {"Process"},
    "Connection": {"Connection", "connection", "connections"},
    "Schedule": {"Schedule", "schedule", "schedules"},
    "Occurrence": {"Occurrence", "occurrence", "occurrences"},
    "ToolServer": {"ToolServer"},
    "ModelServerFacts": {"ModelServerFacts"},
    "ModelCall": {"ModelCall"},
    "ModelContent": {"ModelContent"},
    "DailyUsage": {"DailyUsage"},
    "Agent": {"Agent", "agent"},
    "AgentVersion": {"AgentVersion", "version"},
    "EnteredServer": {"EnteredServer", "ModelServer", "server"},
    "McpServer": {"McpServer"},
    "AuditEntry": {"AuditEntry"},
    "Share": {"Share", "share", "shares"},
    "ShareJoin": {"ShareJoin", "joins"},
    "SteeringWord": {"SteeringWord", "steering_words"},
    "IndexMove": {"IndexMove"},
    "OwnerOffer": {"OwnerOffer"},
    "AuditPurge": {"AuditPurge"},
    "Chore": {"Chore"},
    "WaitingCall": {"WaitingCall", "call"},
    "StandingApproval": {"StandingApproval", "standing_approvals"},
    "Verdict": {"Verdict", "verdict", "verdicts"},
    "Comment": {"Comment", "comment", "comments"},
    "ApiToken": {"ApiToken", "tokens"},
    "ImportedDocument": {"ImportedDocument"},
    "TraceCursor": {"TraceCursor"},
    "TracedRun": {"TracedRun"},
    "Mail": {"Mail", "mails"},
    "Webhook": {"Webhook", "webhooks"},
    "WebhookDelivery": {"WebhookDelivery", "deliveries"},
}
WRITES = {"create", "get_or_create", "update_or_create", "bulk_create", "bulk_update", "update", "delete", "save"}
WRITES |= {f"a{name}" for name in WRITES}

#: The source names no path of the machine it was written on, and no address of a package registry:
#: the patterns are put together here, so that this file contains none either.
ELSEWHERE = [f"/{name}/" for name in ("work", "root", "home")]
REGISTRIES = [
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("deb", "debian"))
]


#: Tables that a raw SQL statement changes.
WRITING_SQL = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(chat_[a-z]+)\b")


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((PROJECT / folder).rglob("*.py")) if "migrations" not in path.parts)


def sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    return ((path, ast.parse(path.read_text("utf-8"))) for path in files(*folders))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [PROJECT / name for name in listed.split("\0") if name and (PROJECT / name).is_file()]


def names_in(node: ast.AST) -> list[str]:
    """The names of a chain like ``session.runs.filter(…).update``, from its start."""
    if isinstance(node, ast.Call):
        return names_in(node.func)
    if isinstance(node, ast.Attribute):
        return [*names_in(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def written_tables(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in WRITING_SQL.findall(node.value):
                yield from ((table, node.lineno) for table in WRITERS if f"chat_{table.lower()}" == name)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
            receiver = names_in(node.func.value)
            # The base of a chain and the attributes that are used on it: Run.objects, session.runs, run.
            for table, called in CALLED.items():
                if called & set(receiver[:2]):
                    yield table, node.lineno


@functools.cache
def places_of_writing() -> dict[str, set[tuple[str, int]]]:
    """For each table, where it is written: files and lines, found once for all tables."""
    found: dict[str, set[tuple[str, int]]] = {table: set() for table in WRITERS}
    for path, tree in sources("chat", "config"):
        for table, line in written_tables(tree):
            found[table].add((path.relative_to(PROJECT).as_posix(), line))
    return found


@pytest.mark.parametrize("table", WRITERS)
def test_a_table_is_written_in_one_place(table: str) -> None:
    # Deleted sessions and accounts are removed by one module, from all tables.
    allowed = {f"chat/{name}" for name in [*WRITERS[table], "runs/erasure.py"]}
    assert {f"{file}:{line}" for file, line in places_of_writing()[table] if file not in allowed} == set()


@pytest.mark.parametrize("table", WRITERS)
def test_that_writer_is_seen_writing(table: str) -> None:
    for name in WRITERS[table]:
        tree = ast.parse((PROJECT / "chat" / name).read_text("utf-8"))
        assert table in {written for written, _ in written_tables(tree)}


def test_only_the_groups_know_the_channel_layer() -> None:
    knowing = {
        path.relative_to(PROJECT).as_posix()
        for path, tree in sources("chat", "agents")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("channels.layers")
    }
    # `layers` contains a layer, and is used by no other module.
    assert knowing == {"chat/runtime/groups.py", "chat/runtime/layers.py"}


def test_only_the_agents_adapters_know_qwen_agent() -> None:
    knowing = {
        path.relative_to(PROJECT / "agents").parts[0]
        for path, tree in sources("agents")
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qwen_agent"))
        or (isinstance(node, ast.Import) and any(alias.name.startswith("qwen_agent") for alias in node.names))
    }
    assert knowing <= {"qwen.py", "qwen_tokenizer.py", "models", "extensions"}


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "helpers", "services", "managers", "signals", "core", "common"}
    assert [path for path in files("agents", "chat", "config") if path.stem in drawers] == []


def test_the_project_names_no_place_but_its_own() -> None:
    pattern = re.compile("|".join(re.escape(word) for word in [*ELSEWHERE, *REGISTRIES]), re.IGNORECASE)
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(PROJECT)}: {match.group()}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "package-lock.json"])
def test_a_lock_holds_hashes_and_no_address(lock: str) -> None:
    text = (PROJECT / lock).read_text("utf-8")
    assert "://" not in text
    assert "sha" in text


def test_the_larger_lock_holds_every_pin_of_the_smaller() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9][^ ]*==[^ ]+", (PROJECT / lock).read_text("utf-8"), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-dev.lock")


#: Translated texts are on one line, however long: a template's tag may not contain a line break.
TRANSLATED = re.compile(r"\{% (blocktrans(?:late)?)\b.*?\{% end\1 %\}|\{% trans(?:late)? .*?%\}")
LONGEST_TEMPLATE_LINE = 200


def test_lines_of_templates_can_be_read() -> None:
    long = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in sorted((PROJECT / "templates").rglob("*.html"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(TRANSLATED.sub("", line)) > LONGEST_TEMPLATE_LINE
    ]
    assert long == []


def test_files_of_the_product_stay_small() -> None:
    generated = {"static/chat/protocol.js", *(f"static/chat/locale/{code}.js" for code in ("zh-hant", "zh-hans"))}
    written = [
        *files("agents", "chat", "config", "scripts"),
        *(PROJECT / "static" / "chat").rglob("*.js"),
        *(PROJECT / "templates").rglob("*.html"),
    ]
    sizes = {path.relative_to(PROJECT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in written}
    assert {name: size for name, size in sizes.items() if size > 450 and name not in generated} == {}


def test_functions_of_the_product_stay_short() -> None:
    """At most 60 lines, as CONTRIBUTING says; ESLint checks those of the scripts."""
    sizes = {
        f"{path.relative_to(PROJECT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in sources("agents", "chat", "config", "scripts")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(sizes) > 1000
    assert {name: size for name, size in sizes.items() if size > 60} == {}


#: Tests that have to access private names: they switch guards off, one by one.
INSIDE = {"tests/faults/mutations.py"}
PRODUCT = ("agents", "chat", "config", "scripts")


def imported(tree: ast.Module) -> dict[str, str]:
    """How a file refers to the modules and names of the product that it imports, each with its dotted path."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PRODUCT:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def private_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Private names of the product's modules that a file imports, reads, writes or patches; each with its module."""
    names = imported(tree)
    for path in names.values():
        module, _, name = path.rpartition(".")
        if name.startswith("_"):
            yield module, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            yield names[node.value.id], node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            match node.args:
                case [ast.Name(id=owner), ast.Constant(value=str(name)), *_] if owner in names:
                    yield names[owner], name
                case [ast.Constant(value=str(path)), *_] if path.split(".")[0] in PRODUCT:
                    module, _, name = path.rpartition(".")
                    yield module, name


def is_module(path: str) -> bool:
    place = PROJECT / path.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


def test_no_test_reaches_into_private_names_of_another_package() -> None:
    """The tests of a package may use the private names of its modules; those of others use public names only."""
    found = set()
    for path, tree in sources("tests"):
        place = path.relative_to(PROJECT)
        package = ".".join(place.parts[1:-1])
        for module, name in private_names(tree):
            is_private = name.startswith("_") and not name.startswith("__") and is_module(module)
            is_own = package == module or f"{package}.".startswith(f"{module.rpartition('.')[0]}.")
            if is_private and not is_own and place.as_posix() not in INSIDE:
                found.add(f"{place}: {module}.{name}")
    assert found == set()


def test_a_contract_has_no_more_layers_than_one_can_keep_in_mind() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {contract["name"]: len(contract["layers"]) for contract in contracts if contract["type"] == "layers"}
    assert len(layers) >= 6, layers
    assert max(layers.values()) <= 8, layers


def test_each_package_has_a_contract_of_its_own() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    bound = {package for contract in contracts for package in contract.get("containers", ())}
    inits = (init.relative_to(PROJECT) for top in ("agents", "chat") for init in (PROJECT / top).rglob("__init__.py"))
    packages = {".".join(init.parts[:-1]) for init in inits if len(list((PROJECT / init).parent.glob("*.py"))) > 5}
    # Migrations follow one another, commands import no other command.
    assert packages - bound == {"chat.migrations", "chat.accounts.migrations", "chat.management.commands"}
