"""Every text that people read can be translated, and is: catalogues are complete, consistent, and up to date with the sources."""

import ast
import functools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from django.contrib import admin

from chat.admin import labels
from scripts import messages

BASE_DIR = messages.BASE_DIR
PLACEHOLDER = re.compile(r"%(?:\((\w+)\)([sd])|%)")
FOLDERS = sorted(messages.LANGUAGES.values())
HAN = "\u3400-\u9fff"


@functools.cache
def catalogue(folder: str) -> list[Message]:
    return list(messages.messages(messages.load(folder)))


def texts_of(message: Message) -> tuple[str, ...]:
    return message.string if isinstance(message.string, tuple) else (message.string,)


def sentences_of(message: Message) -> tuple[str, ...]:
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def test_everything_that_is_made_of_the_catalogues_is_up_to_date() -> None:
    stale = [
        path.relative_to(BASE_DIR).as_posix()
        for path, content in messages.outputs().items()
        if path.read_bytes() != content
    ]
    assert not stale, "make messages writes them anew"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_sentence_is_translated_and_none_is_left_over(folder: str) -> None:
    found = messages.find_messages()
    there = {(message.context, sentences_of(message)) for message in catalogue(folder)}
    assert there == set(found), "make messages"
    missing = [message.id for message in catalogue(folder) if messages.is_missing(message)]
    assert not missing


def faults(folder: str, message: Message) -> Iterator[str]:
    """What is wrong with a translation."""
    number = messages.load(folder).num_plurals if isinstance(message.id, tuple) else 1
    if len(texts_of(message)) != number:
        yield f"it has {len(texts_of(message))} forms, not {number}"
    wanted = {found.group() for sentence in sentences_of(message)[-1:] for found in PLACEHOLDER.finditer(sentence)}
    for text in texts_of(message):
        found = {found.group() for found in PLACEHOLDER.finditer(text)}
        if found != wanted:
            yield f"it names {sorted(found)}, not {sorted(wanted)}"
        yield from typography(folder, PLACEHOLDER.sub("\ufffc", re.sub(r"<[^<>]*>|\{[^{}]*\}", "", text)))
    for sentence in sentences_of(message):
        tags = sorted(re.findall(r"</?\w+", sentence))
        if any(sorted(re.findall(r"</?\w+", text)) != tags for text in texts_of(message)):
            yield "its tags are others"


#: What must not be in Chinese text: half-width punctuation beside Chinese, no space between Chinese and Latin letters or figures, and
#: quotation marks of the other place.
_WRONG = {
    f"a half-width sign after Chinese: {sign}": re.compile(f"[{HAN}」”）]{re.escape(sign)}(?![A-Za-z0-9])")
    for sign in ",;:?!"
} | {
    "a half-width stop after Chinese": re.compile(f"[{HAN}]\\.(?:\\s|$)"),
    "no space between Chinese and Latin": re.compile(f"[{HAN}][A-Za-z0-9]|[A-Za-z0-9][{HAN}]"),
    "a space between Chinese": re.compile(f"[{HAN}] [{HAN}]"),
    "a space beside a full-width sign": re.compile("[，。；：？！、（）「」] | [，。；：？！、（）「」]"),
    "straight quotes": re.compile("[\"']"),
    "three points": re.compile(r"\.\.\."),
}
_QUOTES = {"zh_Hant": "“”‘’", "zh_Hans": "「」『』"}
#: The oldest character sets of either place: a character that is in only one of them must not be in the other's translations.
_LETTERS = {"zh_Hant": "big5", "zh_Hans": "gb2312"}


def typography(folder: str, text: str) -> Iterator[str]:
    """What is wrong with its typography."""
    yield from (what for what, pattern in _WRONG.items() if pattern.search(text))
    for letter in re.findall(f"[{HAN}]", text):
        try:
            letter.encode(_LETTERS[folder])
        except UnicodeEncodeError:
            yield f"a letter of the other Chinese: {letter}"
    yield from (f"a quote of the other Chinese: {quote}" for quote in _QUOTES[folder] if quote in text)


#: Formats of dates, which are written with Django's letters.
def is_format(message: Message) -> bool:
    return message.context == "date format"


@pytest.mark.parametrize("folder", FOLDERS)
def test_translations_are_well_made(folder: str) -> None:
    wrong = {
        f"{message.context or ''} {message.id}: {message.string}": found
        for message in catalogue(folder)
        if not is_format(message) and (found := list(faults(folder, message)))
    }
    assert not wrong, "\n".join(f"{name}\n    {', '.join(found)}" for name, found in wrong.items())


#: Mistakes that must be found, each with its message, to show that the test above can fail. A further one is one line.
BAD = [
    ("zh_Hant", "%(n)d steps", "%(m)d 個步驟", "names"),
    ("zh_Hant", "%(n)d steps", "個步驟", "names"),
    ("zh_Hant", "Log in", "請,登入", "half-width sign"),
    ("zh_Hant", "Log in.", "登入.", "half-width stop"),
    ("zh_Hant", "Log in", "用API登入", "no space"),
    ("zh_Hant", "Log in", "請 登入", "a space between"),
    ("zh_Hant", "Log in", "“登入”", "other Chinese"),
    ("zh_Hans", "Log in", "「登录」", "other Chinese"),
    ("zh_Hans", "Log in", "请， 登录", "beside a full-width"),
    ("zh_Hant", "Log in", "登录", "letter of the other"),
    ("zh_Hans", "Log in", "登錄", "letter of the other"),
    ("zh_Hans", "Log in <b>now</b>", "现在登录", "tags"),
    ("zh_Hans", ("%(n)d step", "%(n)d steps"), ("%(n)d 个步骤", "%(n)d 个步骤"), "forms"),
]


@pytest.mark.parametrize(("folder", "sentence", "text", "expected"), BAD)
def test_mistakes_in_translations_are_found(folder: str, sentence: str, text: str, expected: str) -> None:
    assert expected in " ".join(faults(folder, Message(sentence, text)))


# Singular and plural

#: A number and, with a word between them or not, a plural.
_MANY = re.compile(
    r"%\((?:n|number|count|most|minutes|days|seconds|tokens)\)[ds] (?:[a-z]+ ){0,2}?(?!(?:is|was|has|does|its|this|s|ms)\b)[a-z]+s\b"
    r"|%\(\w+\)d (?:[a-z]+ ){0,2}?(?!(?:is|was|has|does|its|this|s|ms)\b)[a-z]+s\b"
)
_LIMIT, _LENGTH = "a limit that is fixed", "a length beyond a limit"
_FIXED, _NAME = "a number that is fixed", "no number of things: what is called by it"
#: Sentences with a plural and no singular form, each with the reason why it is never one.
NEVER_ONE = {
    "%(field)s: %(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "%(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "%(n)s days": _FIXED,
    "A message may have %(n)d files.": _LIMIT,
    "A session may be shared %(n)d times. Withdraw one first.": _LIMIT,
    "A set may be shared %(n)d times. Withdraw one first.": _LIMIT,
    "A set may have %(n)s cases.": _LIMIT,
    "About %(tokens)s tokens of results left out": "an estimate of long texts",
    "At most %(most)s characters are allowed.": _LIMIT,
    "At most %(n)d changes a minute. Please wait a moment.": _LIMIT,
    "At most %(n)d comments a minute. Please wait a moment.": _LIMIT,
    "At most %(n)d questions of up to %(most)d characters.": _LIMIT,
    "It took longer than %(n)d seconds.": _FIXED,
    "More than %(n)s steps are not copied.": _LIMIT,
    "Of the newest %(n)s model calls.": _FIXED,
    "The conversation is longer than the model reads at a time: from here on its %(messages)s oldest messages, about %(tokens)s "
    "tokens with what was shortened, are left out.": "whole turns, of two messages or more",
    "The tools' results are longer than the model reads at a time: about %(tokens)s tokens of them are left out from here "
    "on.": "an estimate of long texts",
    "Rule %(n)d names the argument “%(name)s” twice.": _NAME,
    "Rule %(n)d needs a tool: a name, in which * stands for anything.": _NAME,
    "The agent's turn was longer than %(n)s characters, so it was stopped.": _LIMIT,
    "The expression has %(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "The instructions have %(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "The message has %(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "The model's reply was longer than %(n)s characters, so it was stopped.": _LIMIT,
    "The name has %(n)s characters; at most %(most)s are allowed.": _LENGTH,
    "The name may have %(most)s characters.": _LIMIT,
    "The newest %(n)s of these runs at most": _FIXED,
    "This agent has %(n)d tools. Many model servers take %(most)d at a time at most: their models are offered the first ones "
    "alone.": _LIMIT,
    "This session has %(n)d comments, and takes no more.": _LIMIT,
    "Too many attempts failed, with this name or from your network. For up to %(minutes)s minutes nobody gets in here that way, "
    "even with the right password. Someone with access to the server can lift the wait with <code>manage.py axes_reset</code>.": _FIXED,
    "Version %(n)d is a draft that says what version %(old)d says.": _NAME,
    "Version %(n)d is saved as a draft. Runs go on with the published one.": _NAME,
    "What version %(n)s says otherwise": _NAME,
    "You have %(n)d tokens, and more are not allowed. Revoke one first.": _LIMIT,
    "You have %(n)d webhooks, and more are not allowed. Remove one first.": _LIMIT,
    "You have %(n)s sets, and more are not allowed.": _LIMIT,
    "more than %(n)s results": _FIXED,
    "“%(label)s” has to be a text of at most %(n)s characters.": _LIMIT,
}


def is_without_singular(sentence: str | tuple[str, ...]) -> bool:
    """Whether a sentence counts something and has no singular form."""
    return isinstance(sentence, str) and _MANY.search(sentence) is not None


def test_counted_sentences_have_a_singular() -> None:
    found = {str(message.id) for message in catalogue(FOLDERS[0]) if is_without_singular(message.id)}
    assert sorted(found - set(NEVER_ONE)) == [], "ngettext, or where the number can't be one, a reason above"
    assert sorted(set(NEVER_ONE) - found) == [], "sentences that are no more"


@pytest.mark.parametrize(
    ("sentence", "is_one"),
    [
        ("Of these %(n)s runs", True),
        ("%(number)d model calls", True),
        ("It takes %(whatever)d long days.", True),
        (("%(n)d step", "%(n)d steps"), False),
        ("Version %(n)d says so", True),
        ("Again in %(n)s s.", False),
        ("Version %(n)d is a draft", False),
    ],
)
def test_counted_sentences_without_a_singular_are_found(sentence: str | tuple[str, ...], is_one: bool) -> None:
    assert is_without_singular(sentence) is is_one


# The glossary


def glossary() -> list[tuple[str, dict[str, list[str]]]]:
    """Terms, each with its allowed translations in either Chinese."""
    rows = []
    for line in (messages.LOCALE / "GLOSSARY.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and not cells[0].startswith(("-", "term")):
            rows.append((cells[0], {"zh_Hant": cells[1].split(" / "), "zh_Hans": cells[2].split(" / ")}))
    return rows


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("term", "names"), glossary(), ids=[term for term, _ in glossary()])
def test_a_term_is_translated_as_the_glossary_says(folder: str, term: str, names: dict[str, list[str]]) -> None:
    used = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", re.IGNORECASE)
    wrong, uses = {}, 0
    for message in catalogue(folder):
        if used.search(re.sub(r"<[^<>]*>|%\(\w+\)[sd]|https?://\S+", "", sentences_of(message)[0])):
            uses += 1
            if not any(name in text for text in texts_of(message) for name in names[folder]):
                wrong[message.id] = message.string
    assert uses, "a term that nothing uses"
    assert not wrong


# Texts that were forgotten


class _Visible(HTMLParser):
    """The texts of a page, and the attributes that are read aloud."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("input", "link", "meta", "br", "use", "path", "rect", "circle"):
            self._within.append(tag)
        given = dict(attrs)
        names = ["aria-label", "title", "placeholder", "alt"] + (
            ["value"] if given.get("type") in ("submit", "button") else []
        )
        self.found += [str(given[name]) for name in names if given.get(name)]

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"code", "kbd", "script", "style"} & set(self._within):
            self.found.append(data)


#: What is called the same everywhere: the product, formats, names of tools.
_NAMES = {
    "Thinkaloud",
    "ATIF",
    "HTML",
    "JSON",
    "Markdown",
    "CSV",
    "UTC",
    "curl",
    "OpenAPI",
    "AsyncAPI",
    "current_time",
    "fetch_page",
    "search_history",
    "python",
}
_TAGS = re.compile(
    r"\{%\s*block \w+_class\s*%\}.*?\{%\s*endblock\s*%\}|\{%\s*comment.*?endcomment\s*%\}"
    r"|\{%\s*blocktrans.*?endblocktrans(?:late)?\s*%\}|\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}",
    re.DOTALL,
)


def bare_words(template: str) -> list[str]:
    """Words of a template outside of translated texts."""
    page = _Visible()
    page.feed(_TAGS.sub("", template))
    return [word for text in page.found for word in re.findall(r"[A-Za-z][A-Za-z_']+", text) if word not in _NAMES]


@pytest.mark.parametrize(
    "path", [path for path in messages.sources() if path.suffix == ".html"], ids=lambda path: path.name
)
def test_no_word_of_a_template_was_forgotten(path: Path) -> None:
    assert not bare_words(path.read_text("utf-8"))


def test_a_forgotten_word_of_a_template_is_seen() -> None:
    assert bare_words("<p>{% trans 'Yes' %} no</p>") == ["no"]
    assert bare_words("<a title='Open it' href='x'>{{ name }}</a>") == ["Open", "it"]
    assert bare_words("<code>manage.py</code>{# none #}<input type='submit' value='{% trans 'Go' %}'>") == []


#: The tokens of a script: comments and regular expressions, which contain no texts; strings; names; punctuation.
_PIECE = re.compile(
    r"(?P<none>//[^\n]*|/\*.*?\*/|(?<=[(,=:\[!&|?{};>])\s*/(?![*/])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?P<name>[\w$]+)|(?P<sign>[^\s\w])",
    re.DOTALL,
)
#: A string that looks like a sentence or a label.
_SENTENCE = re.compile(r"[A-Z][a-z]+(?: [a-z]+)*|.*[a-z]+ [a-z]+ .*|.*[a-z]{2}\.|.*\$\{.*\} [a-z]+.*", re.DOTALL)
#: Functions whose arguments are no texts: those that translate, and those that take keys, selectors or errors for developers.
_SILENT = {
    *("gettext", "ngettext", "pgettext", "Error", "TypeError", "RangeError", "onKey"),
    *("querySelector", "querySelectorAll", "closest", "matches"),
}


def unsaid(script: str) -> list[str]:
    """Strings of a script that look like texts and are passed to no function that translates."""
    found: list[str] = []
    within: list[str] = []
    before = ""
    for piece in _PIECE.finditer(script):
        if piece.lastgroup == "sign" and piece[0] == "(":
            within.append(before)
        elif piece.lastgroup == "sign" and piece[0] == ")" and within:
            within.pop()
        elif piece.lastgroup == "string" and _SENTENCE.fullmatch(piece[0][1:-1]) and not _SILENT & set(within):
            found.append(piece[0])
        before = piece[0] if piece.lastgroup != "none" else before
    return found


#: Names of keys, headers and modes, and selectors.
_CODE = re.compile(
    r"[\"'`](?:[A-Z][a-z]+(?:-[A-Z][a-z]+)+|application/json|.*[\[\]>#=:&].*|[a-z0-9.-]+( [a-z0-9.-]+)* ?)[\"'`]",
    re.DOTALL,
)


_KEYS = {
    f'"{key}"'
    for key in ("Enter", "Escape", "End", "Home", "Tab", "Alt", "Control", "Meta", "Shift", "Notification", "Files")
}


@pytest.mark.parametrize(
    "path", [path for path in messages.sources() if path.suffix == ".js"], ids=lambda path: path.name
)
def test_no_word_of_a_script_was_forgotten(path: Path) -> None:
    assert not [text for text in unsaid(path.read_text("utf-8")) if not _CODE.fullmatch(text) and text not in _KEYS]


def test_a_forgotten_word_of_a_script_is_seen() -> None:
    assert unsaid('say(node, "Try again.");') == ['"Try again."']
    assert unsaid("say(node, `Show all ${rows.length} rows`);") == ["`Show all ${rows.length} rows`"]
    assert unsaid('say(node, gettext("Try again."));') == []


#: Exceptions with a text for people; their second argument is a `Sentence`, or a text of another program.
_RAISED = {
    "Refused": 1,
    "BadFrame": 1,
    "BadDocument": 1,
    "BadField": 1,
    "Invalid": 1,
    "AgentError": 1,
    "ModelError": 0,
    "ProxyRefused": 0,
    "error_response": 1,
}
#: Texts for programs, which pages do not show.
_FOR_PROGRAMS = {
    "chat/api/agui.py": 1,
    "chat/api/exports.py": 1,
    "chat/api/sessions.py": 1,
    "agents/untrusted/trajectory_reader.py": 1,
    "chat/protocol/commands.py": 1,
    "chat/api/errors.py": 1,
    "chat/api/waiting.py": 1,
    "chat/api/routes.py": 1,
    "chat/api/urls.py": 2,
}


def english_only(path: Path) -> Iterator[int]:
    """Lines that raise a plain string as a text for people."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _RAISED:
            at = (
                0
                if "agents" in path.relative_to(BASE_DIR).parts and node.func.id == "Refused"
                else _RAISED[node.func.id]
            )
            if len(node.args) > at and isinstance(node.args[at], ast.JoinedStr | ast.Constant):
                yield node.lineno


def test_errors_are_raised_with_sentences() -> None:
    found = {}
    for path in messages.sources():
        if (
            path.suffix == ".py"
            and "config" not in path.relative_to(BASE_DIR).parts
            and (lines := list(english_only(path)))
        ):
            found[path.relative_to(BASE_DIR).as_posix()] = len(lines)
    assert found == _FOR_PROGRAMS


def test_names_of_tables_and_columns_are_translated() -> None:
    named = set()
    for model in admin.site._registry:
        if model._meta.app_label == "chat":
            named |= {str(model._meta.verbose_name), str(model._meta.verbose_name_plural)}
            for field in (*model._meta.fields, *model._meta.many_to_many):
                named |= {str(field.verbose_name), *([str(field.help_text)] if field.help_text else [])}
                named |= {str(label) for _value, label in field.flatchoices}
    assert named == set(labels.NAMES)
