"""How static files get their hashed names, and how they are served: by the ASGI application, before Django sees the request."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from django.conf import settings
from servestatic.asgi import ServeStaticASGI
from servestatic.storage import CompressedManifestStaticFilesStorage

from chat.runtime.kept import Kept


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Names that change with the content, also inside ES modules that import each other.

    A file that was never collected keeps its plain name: a page without one of the browser's libraries still works.
    """

    support_js_module_import_aggregation = True
    #: One pass for each level of modules that import each other, and some more: a name is final when those of its imports are.
    max_post_process_passes = 20

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: While files are collected: the number of passes so far, and the files that refer to others.
        self._passes = 0
        self._referring: set[str] = set()
        #: The address of each collected file, by folder and name; a page uses forty.
        self._addresses: dict[str, tuple[str, str]] = {}

    def url(self, name: str | None, force: bool = False) -> str:
        """Return the address of a file, by its hashed name where it has been collected."""
        if name is None or name not in self.hashed_files or settings.DEBUG or force:
            address: str = super().url(name, force)
            return address
        base, address = self._addresses.get(name, ("", ""))
        if not address or base != self.base_url:
            address = super().url(name)
            self._addresses[name] = self.base_url, address
        return address

    def post_process(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, str, bool | Exception]]:
        """Name the collected files by their content, in passes over them until no name changes."""
        self._passes = 0
        self._referring.clear()
        yield from super().post_process(*arguments, **options)

    def _post_process(self, paths: Mapping[str, Any], *arguments: Any) -> Iterator[tuple[Any, ...]]:
        # After the second pass, which is the first that Django compares, the names of files that refer to no others are final.
        self._passes += 1
        left = paths if self._passes <= 2 else {name: path for name, path in paths.items() if name in self._referring}
        yield from super()._post_process(left, *arguments)

    def url_converter(self, name: str, *arguments: Any, **options: Any) -> Callable[[re.Match[str]], str]:
        """Return the function that replaces an address in a file."""
        convert: Callable[[re.Match[str]], str] = super().url_converter(name, *arguments, **options)

        def convert_address(found: re.Match[str]) -> str:
            self._referring.add(name)
            return convert(found)

        return convert_address

    def read_manifest(self) -> str | None:
        """The stored list of names; None if it is truncated, as after a power cut."""
        try:
            written: str | None = super().read_manifest()
            if written is not None:
                json.loads(written)
        except ValueError:
            return None
        return written

    def save_manifest(self) -> None:
        """Store which name each file has now."""
        self._addresses.clear()
        super().save_manifest()

    def stored_name(self, name: str) -> str:
        """The hashed name, or the plain one of a file that does not exist."""
        try:
            hashed: str = super().stored_name(name)
        except ValueError:
            return name
        return hashed


def serve_static_files(application: Any) -> Any:
    """An ASGI application that serves what has been collected, and passes every other request on."""
    files = ServeStaticASGI(
        application,
        root=settings.STATIC_ROOT,
        prefix=settings.STATIC_URL,
        allow_all_origins=False,
        # The folder contains only files of the product: checking each for symbolic links took a tenth of a second at each start.
        allow_unsafe_symlinks=True,
        add_headers_function=_add_headers,
    )

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(settings.STATIC_URL):
            await files(scope, receive, send)
            return

        async def send_file(message: Any) -> None:
            if message["type"] == "http.response.pathsend":
                await _send_contents(message["path"], send)
            else:
                await send(message)

        # As if the server sent files itself: otherwise each would be read in a new thread.
        extensions = {**(scope.get("extensions") or {}), "http.response.pathsend": {}}
        await files({**scope, "extensions": extensions}, receive, send_file)

    return serve


#: Contents of files, which get another name when their content changes; larger ones are read each time.
_contents: Kept[str, bytes] = Kept(8 << 20)
_MOST_KEPT = 256 << 10
_PIECE = 64 << 10


async def _send_contents(path: str, send: Any) -> None:
    content = None if settings.DEBUG else _contents.get(path)
    if content is None:
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            content = await asyncio.to_thread(file.read, _MOST_KEPT + 1)
            if len(content) <= _MOST_KEPT:
                _contents.keep(path, content, len(content))
            else:
                while more := await asyncio.to_thread(file.read, _PIECE):
                    await send({"type": "http.response.body", "body": content, "more_body": True})
                    content = more
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _add_headers(headers: Headers, _path: str, _url: str) -> None:
    """Add the headers that Django's own middleware adds to pages."""
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = settings.SECURE_REFERRER_POLICY
    headers["Cross-Origin-Opener-Policy"] = settings.SECURE_CROSS_ORIGIN_OPENER_POLICY
    if settings.SECURE_HSTS_SECONDS:
        below = "; includeSubDomains" if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else ""
        preload = "; preload" if settings.SECURE_HSTS_PRELOAD else ""
        headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}{below}{preload}"
