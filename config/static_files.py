"""How static files get their hashed names, and how they are served under ASGI."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.compress import Compressor
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Names that change with the content, also inside the ES modules that import each other.

    A file that was never collected keeps its plain name: a page without one of the browser's libraries is still a page.
    """

    support_js_module_import_aggregation = True
    manifest_strict = False
    #: One for each floor of modules that import each other, and some to spare: a name is settled when those of its imports are.
    max_post_process_passes = 20

    def create_compressor(self, **kwargs: Any) -> Compressor:
        """Compress by gzip alone: Brotli would take seconds more at every start."""
        return Compressor(use_brotli=False, **kwargs)

    def stored_name(self, name: str) -> str:
        """Return the hashed name, or the plain one of a file that isn't there."""
        try:
            hashed: str = super().stored_name(name)
        except ValueError:
            return name
        return hashed


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise, answering with the file's bytes: its file iterators are synchronous, which ASGI can only read with a warning."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """Answer with one file."""
        found = static_file.get_response(request.method, request.META)
        body = b""
        if found.file is not None:
            with found.file as stream:
                body = stream.read()
        response = HttpResponse(body, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response
