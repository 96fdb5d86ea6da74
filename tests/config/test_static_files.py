"""Static files get names that change with their content, and are served as they are."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings

from config.static_files import HashedStaticFiles, StaticFilesMiddleware
from scripts import bootstrap


@pytest.fixture
def collected(tmp_path: Path, settings: Any) -> Any:
    """Two modules, one importing the other, collected."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.js").write_text('import {word} from "./word.js";\nconsole.log(word);\n')
    (source / "word.js").write_text('export const word = "hello";\n')
    with override_settings(
        STATICFILES_DIRS=[source], STATIC_ROOT=tmp_path / "static", INSTALLED_APPS=["django.contrib.staticfiles"]
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield tmp_path / "static"


def test_modules_import_each_other_by_hashed_names(collected: Path) -> None:
    paths = json.loads((collected / "staticfiles.json").read_text())["paths"]
    assert paths["word.js"] != "word.js"
    assert f'from "./{paths["word.js"]}"' in (collected / paths["main.js"]).read_text()


def test_hashed_files_are_served_for_ever_and_compressed(collected: Path, rf: RequestFactory) -> None:
    paths = json.loads((collected / "staticfiles.json").read_text())["paths"]
    serve = StaticFilesMiddleware(lambda _: HttpResponse(status=404))
    answer = serve(rf.get(f"/static/{paths['word.js']}"))
    assert answer.status_code == 200
    assert answer.content == b'export const word = "hello";\n'
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert serve(rf.head(f"/static/{paths['word.js']}")).content == b""
    assert serve(rf.get("/static/none.js")).status_code == 404
    assert (
        serve(rf.get(f"/static/{paths['word.js']}", headers={"If-None-Match": answer.headers["ETag"]})).status_code
        == 304
    )


def test_a_file_that_is_not_there_keeps_its_plain_name() -> None:
    assert HashedStaticFiles().url("vendor/nowhere.js") == "/static/vendor/nowhere.js"


def test_every_library_of_the_browser_is_one_module_that_names_no_other_file() -> None:
    for name in bootstrap.BROWSER_LIBRARIES:
        text = (bootstrap.VENDOR / name).read_text("utf-8")
        assert "export" in text
        assert bootstrap.NOT_SERVED.search(text) is None
