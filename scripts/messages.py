"""Keeps the translations in step with the sources: ``make messages`` after a word has changed, then translate what it names.

It finds the sentences in Python, templates and scripts, writes them into the catalogues (``chat/locale/*/LC_MESSAGES/django.po``), and
makes of each catalogue what the programs read: ``django.mo`` for Django, a module of ``static/chat/locale`` for the browser. All of it
is part of the repository; nothing of this runs where the product does.
"""

import ast
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_javascript, extract_python
from babel.messages.mofile import write_mo
from babel.messages.plurals import get_plural
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

BASE_DIR = Path(__file__).resolve().parent.parent
LOCALE = BASE_DIR / "chat" / "locale"
SCRIPTS = BASE_DIR / "static" / "chat"
BROWSER = SCRIPTS / "locale"
#: By Django's code of a language: the folder of its catalogue.
LANGUAGES = {"zh-hans": "zh_Hans", "zh-hant": "zh_Hant"}
#: Functions whose arguments are sentences; True if the first argument is a context.
_KEYWORDS = dict.fromkeys(("pgettext", "pgettext_lazy"), (None, "c")) | dict.fromkeys(
    ("_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "Sentence")
)
_CALL = re.compile(r" (gettext|ngettext|pgettext|npgettext|_)\(")
_LITERAL = re.compile(r"\s*u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\s*,?")
#: A fixed date, so that an unchanged catalogue is not rewritten.
_DATED = datetime(2026, 11, 29, tzinfo=UTC)

#: A sentence in the sources: its context or None, and its text, with or without a plural.
Found = tuple[str | None, tuple[str, ...]]


def _in_template(source: str) -> Iterator[Found]:
    """The sentences of a Django template, found with Django's own tools."""
    text = templatize(source)
    for call in _CALL.finditer(text):
        strings, at = [], call.end()
        while literal := _LITERAL.match(text, at):
            strings.append(str(ast.literal_eval(literal[1])))
            at = literal.end()
        has_context = call[1] in ("pgettext", "npgettext")
        yield (strings[0], tuple(strings[1:])) if has_context else (None, tuple(strings))


def _in_code(path: Path) -> Iterator[Found]:
    extract = extract_python if path.suffix == ".py" else extract_javascript
    with path.open("rb") as source:
        for _line, function, strings, _comments in extract(source, tuple(_KEYWORDS), (), {}):
            given = [text for text in (strings if isinstance(strings, tuple) else (strings,)) if isinstance(text, str)]
            if function in ("pgettext", "pgettext_lazy"):
                yield given[0], (given[1],)
            elif given:
                yield None, tuple(given[: 2 if function == "ngettext" else 1])


def sources() -> list[Path]:
    """The files that contain sentences."""
    python = [path for folder in ("agents", "chat", "config") for path in (BASE_DIR / folder).rglob("*.py")]
    templates = [*(BASE_DIR / "templates").rglob("*.html")]
    scripts = [path for path in SCRIPTS.rglob("*.js") if BROWSER not in path.parents]
    return sorted(path for path in [*python, *templates, *scripts] if "migrations" not in path.parts)


def find_messages() -> dict[Found, list[str]]:
    """All sentences, each with the files that contain it."""
    found: dict[Found, list[str]] = {}
    for path in sources():
        here = _in_template(path.read_text("utf-8")) if path.suffix == ".html" else _in_code(path)
        for message in here:
            places = found.setdefault(message, [])
            name = path.relative_to(BASE_DIR).as_posix()
            if name not in places:
                places.append(name)
    return _merged(found)


def _merged(found: dict[Found, list[str]]) -> dict[Found, list[str]]:
    """Sentences that have a plural in one place and none in another, merged into those with it: catalogues know both by the singular."""
    double = {(context, texts[0]): (context, texts) for context, texts in found if len(texts) == 2}
    merged: dict[Found, list[str]] = {}
    for (context, texts), places in found.items():
        merged.setdefault(double.get((context, texts[0]), (context, texts)), []).extend(places)
    return merged


def load(folder: str) -> Catalog:
    """A catalogue as stored in the repository; an empty one if there is none yet."""
    path = LOCALE / folder / "LC_MESSAGES" / "django.po"
    if not path.exists():
        return Catalog(locale=folder)
    with path.open("rb") as source:
        return read_po(source, locale=folder)


def updated(old: Catalog, found: dict[Found, list[str]], folder: str) -> Catalog:
    """The catalogue with exactly the current sentences, each with its translation."""
    new = Catalog(
        locale=folder,
        project="Thinkaloud",
        version="1",
        header_comment=f"# The words of Thinkaloud in {folder}. `make messages` keeps the sentences; people write the translations.",
        creation_date=_DATED,
        revision_date=_DATED,
        last_translator="Thinkaloud",
        language_team="Thinkaloud",
        msgid_bugs_address="Thinkaloud",
        copyright_holder="Thinkaloud",
        fuzzy=False,
    )
    for (context, texts), places in sorted(found.items(), key=lambda one: (one[1][0], one[0][1], one[0][0] or "")):
        known = old.get(texts[0], context)
        text = known.string if known is not None else ""
        if len(texts) == 2 and not isinstance(text, tuple):
            text = (text,)
        elif len(texts) == 1 and isinstance(text, tuple):
            text = text[0]
        flags = known.flags & {"fuzzy"} if known is not None else set()
        name = texts[0] if len(texts) == 1 else texts
        new.add(name, text, [(place, 0) for place in sorted(set(places))], flags, context=context)
    return new


def po_text(catalogue: Catalog) -> bytes:
    """A catalogue in the format that people edit."""
    out = io.BytesIO()
    write_po(out, catalogue, width=130, include_lineno=False, ignore_obsolete=True)
    return out.getvalue()


def mo_bytes(catalogue: Catalog) -> bytes:
    """A catalogue in the format that Django reads."""
    out = io.BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def browser_module(catalogue: Catalog, folder: str) -> str:
    """The catalogue's sentences for the browser's scripts, as a module."""
    words = {}
    for message in messages(catalogue):
        if not any(place.startswith("static/") or place in _SHOWN_BY_SCRIPTS for place, _ in message.locations):
            continue
        text = message.id if isinstance(message.id, str) else message.id[0]
        key = f"{message.context}\u0004{text}" if message.context else text
        words[key] = list(message.string) if isinstance(message.string, tuple) else message.string
    form = get_plural(folder).plural_expr
    return (
        f"// Made by `make messages` from chat/locale/{folder}/LC_MESSAGES/django.po.\n\n"
        'import { setCatalogue } from "../lib/gettext.js";\n\n'
        f"const words = {json.dumps(words, ensure_ascii=False, indent=2, sort_keys=True)};\n\n"
        f"setCatalogue(words, ({'_number' if form == '0' else 'n'}) => Number({form}));\n"
    )


#: Files whose sentences reach the scripts as data, with the template that they are made of.
_SHOWN_BY_SCRIPTS = frozenset(
    path.relative_to(BASE_DIR).as_posix()
    for folder in ("agents", "chat")
    for path in (BASE_DIR / folder).rglob("*.py")
    if "Sentence(" in path.read_text("utf-8")
)


def messages(catalogue: Catalog) -> Iterable[Message]:
    """The messages of a catalogue without its header."""
    return (message for message in catalogue if message.id)


def is_missing(message: Message) -> bool:
    """Whether a message has no translation, or one that was not checked since its sentence changed."""
    texts = message.string if isinstance(message.string, tuple) else (message.string,)
    return message.fuzzy or not all(texts)


def outputs() -> dict[Path, bytes]:
    """What every file should contain: catalogues, Django's files, the browser's files."""
    found = find_messages()
    made = {}
    for code, folder in LANGUAGES.items():
        catalogue = updated(load(folder), found, folder)
        path = LOCALE / folder / "LC_MESSAGES"
        made[path / "django.po"] = po_text(catalogue)
        made[path / "django.mo"] = mo_bytes(catalogue)
        made[BROWSER / f"{code}.js"] = browser_module(catalogue, folder).encode()
    return made


def configure() -> None:
    """Configure Django as far as its parser of templates needs it."""
    if not settings.configured:
        settings.configure()
        django.setup()


def main() -> None:
    """Write the files, and list what is not translated yet."""
    configure()
    for path, content in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    left = 0
    for folder in LANGUAGES.values():
        for message in messages(load(folder)):
            if is_missing(message):
                left += 1
                sys.stdout.write(f"{folder}: {message.id}\n")
    sys.stdout.write(f"{left} translations are missing.\n" if left else "Every sentence is translated.\n")


if __name__ == "__main__":
    main()
