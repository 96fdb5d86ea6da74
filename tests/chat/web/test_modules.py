"""The pages list all modules of their scripts, so that a browser fetches them at once."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from chat.templatetags.modules import modules_below
from tests.chat import making

STATIC = Path(settings.BASE_DIR) / "static"
#: Scripts of pages, and a module that each imports indirectly; a further one is one line.
FAR_BELOW = {
    "chat/page/main.js": "chat/lib/markdown-links.js",
    "chat/page/start.js": "chat/lib/platform.js",
    "chat/page/first-message.js": "chat/lib/keyboard.js",
    "chat/page/shell.js": "chat/view/focus.js",
    "chat/page/preferences.js": "chat/transport/addresses.js",
}
#: All imports of a file, however they are written.
ANY_IMPORT = re.compile(r"""^import\b[^"']*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


@pytest.mark.parametrize("path", FAR_BELOW)
def test_all_imports_of_a_script_are_found(path: str) -> None:
    found = modules_below(path)
    assert FAR_BELOW[path] in found
    assert len(found) == len(set(found))
    for module in (path, *found):
        text = (STATIC / module).read_text("utf-8")
        imported = {((STATIC / module).parent / name).resolve() for name in ANY_IMPORT.findall(text)}
        assert imported <= {(STATIC / name).resolve() for name in found}


@pytest.mark.django_db
def test_a_page_names_each_module_once(client: Client) -> None:
    ada = making.user("ada")
    client.force_login(ada)
    html = client.get(f"/sessions/{making.session(ada).pk}/").content.decode()
    hints = re.findall(r'<link rel="modulepreload" fetchpriority="low" href="([^"]+)">', html)
    scripts = re.findall(r'<script type="module" src="([^"]+)"></script>', html)
    assert len(hints) == len(set(hints))
    assert not set(hints) & set(scripts)
    assert {re.sub(r"\.[0-9a-f]{12}\.js$", ".js", hint).removeprefix("/static/") for hint in (*hints, *scripts)} == {
        "chat/page/shell.js",
        "chat/page/main.js",
        *modules_below("chat/page/main.js"),
    }
