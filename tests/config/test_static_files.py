"""Static files get names that change with their content, and are served unchanged."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.management import call_command
from django.test.utils import override_settings

from config.static_files import HashedStaticFiles, serve_static_files
from scripts import bootstrap


@pytest.fixture
def collected(tmp_path: Path, settings: Any) -> Any:
    """Two modules, one importing the other, collected."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.js").write_text('import {word} from "./word.js";\nconsole.log(word);\n')
    (source / "word.js").write_text('export const word = "hello";\n')
    (source / "long.js").write_text("// Word after word.\n" * 200)
    with override_settings(
        STATICFILES_DIRS=[source], STATIC_ROOT=tmp_path / "static", INSTALLED_APPS=["django.contrib.staticfiles"]
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield tmp_path / "static"


def test_modules_import_each_other_by_hashed_names(collected: Path) -> None:
    paths = json.loads((collected / "staticfiles.json").read_text())["paths"]
    assert paths["word.js"] != "word.js"
    assert f'from "./{paths["word.js"]}"' in (collected / paths["main.js"]).read_text()


def test_names_are_final_however_deep_modules_import_each_other(tmp_path: Path) -> None:
    """Also of a file that imports nothing and that nothing imports."""
    source, depth = tmp_path / "source", 6
    source.mkdir()
    for number in range(depth):
        # Each pass makes one more name final.
        (source / f"m{number}.js").write_text(f'import {{x}} from "./m{number + 1}.js";\n')
    (source / f"m{depth}.js").write_text("export const x = 1;\n")
    (source / "alone.js").write_text("export const y = 1;\n")
    with override_settings(
        STATICFILES_DIRS=[source], STATIC_ROOT=tmp_path / "static", INSTALLED_APPS=["django.contrib.staticfiles"]
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
    paths = json.loads((tmp_path / "static" / "staticfiles.json").read_text())["paths"]
    contents = {name: (tmp_path / "static" / path).read_bytes() for name, path in paths.items()}
    assert {name: path.split(".")[1] for name, path in paths.items()} == {
        name: hashlib.md5(content).hexdigest()[:12] for name, content in contents.items()
    }
    for number in range(depth):
        assert f'"./{paths[f"m{number + 1}.js"]}"'.encode() in contents[f"m{number}.js"]
    assert len(paths) == depth + 2


@pytest.mark.parametrize("left", [b"", b"{", b'{"paths": {"word.js"', b"\0" * 40, b"\xff\xfe"])
def test_names_that_were_cut_short_are_made_anew(collected: Path, left: bytes) -> None:
    """As after a power cut. A page that is requested before the repair works all the same."""
    (collected / "staticfiles.json").write_bytes(left)
    assert HashedStaticFiles().url("word.js").startswith("/static/word.")
    call_command("collectstatic", interactive=False, verbosity=0)
    assert "word.js" in HashedStaticFiles().hashed_files


async def ask(application: Any, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of an answer."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    asking = ApplicationCommunicator(application, scope)
    await asking.send_input({"type": "http.request"})
    start, body = await asking.receive_output(), b""
    more = True
    while more:
        piece = await asking.receive_output()
        body += piece.get("body", b"")
        more = piece.get("more_body", False)
    await asking.wait()
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body


async def behind(_scope: Any, _receive: Any, send: Any) -> None:
    """The application behind it, for what is no static file."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"Django's"})


async def test_hashed_files_are_served_for_ever_and_compressed(collected: Path, settings: Any) -> None:
    paths = json.loads((collected / "staticfiles.json").read_text())["paths"]
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 3_600, True
    served, address = serve_static_files(behind), f"/static/{paths['word.js']}"
    status, headers, body = await ask(served, address)
    assert (status, body) == (200, b'export const word = "hello";\n')
    assert headers["content-type"].startswith("text/javascript")
    assert "immutable" in headers["cache-control"]
    assert "access-control-allow-origin" not in headers
    # The headers that pages have, too.
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["strict-transport-security"] == "max-age=3600; includeSubDomains"
    assert (await ask(served, address, method="HEAD"))[2] == b""
    assert (await ask(served, address, if_none_match=headers["etag"]))[0] == 304
    assert "immutable" not in (await ask(served, "/static/word.js"))[1]["cache-control"]
    for elsewhere in ("/static/none.js", "/static/../secret_key", "/static/", "/static/\u6587\0.js", "/word.js"):
        assert (await ask(served, elsewhere))[2] == b"Django's"


async def test_files_are_compressed_for_browsers_that_support_it(collected: Path) -> None:
    paths = json.loads((collected / "staticfiles.json").read_text())["paths"]
    served, address = serve_static_files(behind), f"/static/{paths['long.js']}"
    _, headers, packed = await ask(served, address, accept_encoding="gzip, br")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == (await ask(served, address))[2]


@pytest.mark.parametrize("size", [0, 1, 256 << 10, (256 << 10) + 1, 700_000])
async def test_a_file_is_served_whole_each_time_however_large_it_is(tmp_path: Path, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    (tmp_path / "a.bin").write_bytes(content)
    with override_settings(STATIC_ROOT=tmp_path):
        application = serve_static_files(behind)
        for _ in range(2):
            status, headers, body = await ask(application, "/static/a.bin")
            assert (status, headers["content-length"]) == (200, str(size))
            assert body == content
        assert (await ask(application, "/static/a.bin", method="HEAD"))[::2] == (200, b"")
        if size > 9:
            assert (await ask(application, "/static/a.bin", range="bytes=3-9"))[::2] == (206, content[3:10])


def test_a_file_that_is_not_there_keeps_its_plain_name() -> None:
    assert HashedStaticFiles().url("vendor/nowhere.js") == "/static/vendor/nowhere.js"


def test_every_library_of_the_browser_is_one_module_that_names_no_other_file() -> None:
    for name in bootstrap.BROWSER_LIBRARIES:
        text = (bootstrap.VENDOR / name).read_text("utf-8")
        assert "export" in text
        assert bootstrap.NOT_SERVED.search(text) is None
