"""The code's names are those of the field: none of its former words is used, in Python, in templates or in scripts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import PROJECT, files, sources

#: Words that this code once used for things that have established names; `CONTRIBUTING.md` says which it uses.
FORMER_NAMES = set(
    "carry carrying _Carried carried_by take_up take_next takes_runs place_in_line _IN_LINE Standing _let_in set_going made_way has_room "
    "_make_room _room tell_stored tell_everyone _Abroad grew Growth on_growth doorbell _Bell _Ear _hears _go_deaf _tend _Door is_shut "
    "_kept_out Membership Shape start_over share_one_heap keep_what_is_loaded keep_apart Away Outdated Owned on_set Desk Writer Written "
    "LoopModel let_go _leave_text _Tempo Pacer Seen _alone _aim Missed Overlap Paused Intake Inbox _Act _Acting PeopleAdmin our_fault "
    "OUR_FAULT page_of_app telling endline presenting dress CannotGoOn because Extent grow _grow grow_call _grown _said _say _tempo "
    "_tempos room RunTeller NoteTeller Seat take_seat Wish find_who_enters has_come tell_people tell_from_thread note_act told_otherwise "
    "say_sentence look_at_server Entrance entrance let_in Ruling Onward Reached "
    "NoRoom carried_run hurry _see_to _rang take_from warm tie tie_known tie_copied tie_to_case untie_from_cases carry_out _carry line_of "
    "_put_in_line tell_sockets told_since told_of count_told _tell_roles _tell_activity put_down turn_away is_of_use check_room "
    "sessions_to_look_at _told_to_stop say_in_a_line next_look look_at carried tell ring working ticking continuing interrupting memory "
    "_fresh soon become quietly refuse_strangers stranger standings_for _Standing said_in said_of Said hears _ears _doors teller told_s "
    "_telling_code _let_work the_keeper lead_to_https lead_to_login tell_chromium bring_chromium bring_programs KNOWS_WAITING goes_on_with "
    "_going_on claim_going_on ignore_words _told_twice wish say roughly did "
    "told said take _take taken _taken hear heard _heard grown _Line _line_of TakenMail in_line take_draft take_all take_due take_lease "
    "take_file take_agent hurry fields_said SAID TOLD SAYS carried_out".split()
)


#: Where one of these words is the field's own, or is seen from outside; by the word.
EXCEPTIONS = {
    # A field of messages between processes: an earlier version, which may be running at the same time, sends it, too.
    "because": {"chat/protocol/group_messages.py", "chat/runs/registry.py", "chat/serving/supervisor.py"},
    # A placeholder of translated sentences, and a field of what `manage.py doctor --json` prints.
    "said": {
        "agents/tools/rules.py",
        "config/edge.py",
        "chat/management/commands/doctor.py",
    },
    # The part of the page below an answer, which styles and scripts refer to.
    "endline": {
        "chat/exports/as_html.py",
        "chat/rendering/inspection.py",
        "chat/rendering/rows.py",
        "templates/chat/_run.html",
        "templates/chat/run.html",
        "templates/export/end.html",
        "tests/e2e/conversation.py",
        "tests/e2e/test_asking.py",
        "tests/e2e/test_people.py",
    },
    # What a process uses of the machine, and the position in a file.
    "memory": {"tests/benchmarks/decided.py", "tests/scale/test_scale.py"},
    "tell": {"tests/documents.py"},
}


def identifiers(tree: ast.Module) -> set[str]:
    """All identifiers of a file."""
    return {str(getattr(node, kind, "")) for node in ast.walk(tree) for kind in ("id", "attr", "name", "arg")}


def keys_in(tree: ast.Module) -> Iterator[str]:
    """The keys of a file's dictionaries, among which are those of templates' data."""
    for node in ast.walk(tree):
        keys = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
        yield from (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def template_names(text: str) -> Iterator[str]:
    """The names that a template's tags use."""
    for tag in re.findall(r"\{[{%].*?[%}]\}", text):
        yield from re.findall(r"[A-Za-z_]\w*", re.sub(r""""[^"]*"|'[^']*'""", "", tag))


def test_no_former_name_is_used() -> None:
    used: dict[Path, set[str]] = {
        path: identifiers(tree) | set(keys_in(tree)) for path, tree in sources("agents", "chat", "config", "scripts")
    }
    used |= {path: identifiers(tree) for path, tree in sources("tests")}
    used |= {path: set(template_names(path.read_text("utf-8"))) for path in (PROJECT / "templates").rglob("*.html")}
    found: dict[str, set[str]] = {}
    for path, names in used.items():
        for name in names & FORMER_NAMES:
            found.setdefault(name, set()).add(path.relative_to(PROJECT).as_posix())
    assert found == EXCEPTIONS


def test_names_are_found_wherever_they_are() -> None:
    tree = ast.parse('def told(said, *, tell): heard.take = {"room": x["grown"]}; f(carry=1)')
    assert {"told", "said", "tell", "heard", "take", "carry"} <= identifiers(tree)
    assert {"room", "grown"} == set(keys_in(tree))
    assert {"row", "told"} <= set(template_names('{% if row.told == "said" %}'))
    assert "said" not in set(template_names('{% trans "as was said" %} said'))


#: The same for the pages' scripts: what modules export, what any function or method is called, and files.
FORMER_EXPORTS = "say show mark goOn createReading gist telling returned did trouble endline roughly".split()
FORMER_FUNCTIONS = "tell told said take hear heard grow grown hurry carry carried".split()
FORMER_FILES = "reading nodes parts plain rows".split()


def test_no_script_has_a_former_name() -> None:
    exported = re.compile(rf"^export (?:async )?function ({'|'.join(FORMER_EXPORTS)})\(", re.MULTILINE)
    method = re.compile(
        rf"^\s*(?:export )?(?:async )?(?:function )?({'|'.join(FORMER_FUNCTIONS)})\(.*\) \{{$", re.MULTILINE
    )
    scripts = sorted((PROJECT / "static" / "chat").rglob("*.js"))
    texts = {path.name: path.read_text("utf-8") for path in scripts}
    found = [
        f"{place}: {name}" for place, text in texts.items() for name in exported.findall(text) + method.findall(text)
    ]
    assert found + [path.name for path in scripts if path.stem in FORMER_FILES] == []


#: For who searches the code by a word of the field: where the thing of that name is.
FOUND_BY_NAME = {
    "queue": ("chat/runs/queue.py", "waiting_sessions"),
    "publish": ("chat/runs/publisher.py", "publish_events"),
    "execute": ("chat/runs/executor.py", "execute_run"),
    "worker": ("chat/serving/worker.py", "Worker"),
    "listener": ("chat/runtime/groups.py", "GroupListener"),
}


@pytest.mark.parametrize("word", FOUND_BY_NAME)
def test_a_word_of_the_field_leads_to_the_thing(word: str) -> None:
    place, name = FOUND_BY_NAME[word]
    defined = {getattr(node, "name", "") for node in ast.parse((PROJECT / place).read_text("utf-8")).body}
    assert name in defined
    assert word in f"{place} {name}".lower()


#: Packages whose functions are called with their module's name: `drafts.save(…)`, `agents.preload(…)`.
PLACES = ("agents", "chat", "config", "scripts")


def one_word_functions() -> set[str]:
    """Public functions of modules whose names are one word, with their modules' dotted paths."""
    return {
        f"{dotted_path(path)}.{node.name}"
        for path, tree in sources(*PLACES)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and re.fullmatch("[a-z0-9]+", node.name)
    }


def dotted_path(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def test_a_function_of_one_word_is_called_by_its_modules_name() -> None:
    """A public function has two words, unless its module is the noun: then each caller names both, as in ``drafts.save(…)``.

    Methods have their object before them. What a package passes on in its ``__init__`` is called by the package's name.
    """
    known = one_word_functions()
    assert known >= {"chat.store.drafts.save", "chat.runtime.database.read"}
    passed_on = {
        f"{dotted_path(path)}.{alias.name}"
        for path in files(*PLACES)
        if path.name == "__init__.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in known
    }
    public = known | passed_on
    found = {
        f"{path.relative_to(PROJECT)}: {node.module}.{alias.name}"
        for path, tree in sources(*PLACES, "tests")
        if path.name != "__init__.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in public
    }
    assert found == set()
