"""What a page may load and run."""

from typing import Any

from csp.constants import NONCE, NONE, SELF

#: Only our own files, and the one inline script that has the page's nonce (the import map).
POLICY: dict[str, list[Any]] = {
    "default-src": [NONE],
    "script-src": [SELF, NONCE],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "manifest-src": [SELF],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    "require-trusted-types-for": ["'script'"],
}


def plain_policy() -> str:
    """The policy as a header, for a page that is answered before there is a nonce."""
    return "; ".join(
        f"{name} {' '.join(str(source) for source in sources if source is not NONCE)}"
        for name, sources in POLICY.items()
    )
