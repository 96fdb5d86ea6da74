"""Characters that change the direction of text are made visible on every page: a file named "gpj.exe" cannot look like "exe.jpg"."""

import re

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from config.middleware import OnLoop

#: Embeddings, overrides and isolates (U+202A–202E, U+2066–2069) in UTF-8; before them what is handed back as it was: what a form holds.
#: No text can look like that: where it is shown, its "<" is escaped. Marks that only say which way a letter reads stay.
_TURNING = re.compile(rb"<textarea\b[^<>]*>[^<]*|<input\b[^<>]*>|\xe2(?:\x80[\xaa-\xae]|\x81[\xa6-\xa9])")
_ANY = re.compile(rb"\xe2(?:\x80[\xaa-\xae]|\x81[\xa6-\xa9])")


def make_visible(html: bytes) -> bytes:
    """A page in which such characters are shown by their numbers."""
    return _TURNING.sub(_shown, html) if _ANY.search(html) else html


def _shown(found: re.Match[bytes]) -> bytes:
    text = found.group()
    return text if text[0] != 0xE2 else b"[U+%04X]" % ord(text.decode())


class VisibleTextMiddleware(OnLoop):
    """Applies that to every page, whichever view has rendered it: names, titles, links, arguments, results, the admin."""

    def process_response(self, _request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The page with visible characters."""
        if isinstance(response, HttpResponse) and response.get("Content-Type", "").startswith("text/html"):
            shown = make_visible(response.content)
            if shown is not response.content:
                response.content = shown
                if response.has_header("Content-Length"):
                    # Set before the page grew: the browser would only read that much of it.
                    response["Content-Length"] = str(len(shown))
        return response
