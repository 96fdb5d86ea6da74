"""Addresses of pages, as they are put into what leaves the installation."""

from django.conf import settings


def page_address(path: str) -> str:
    """The whole address of a page, whose path begins with a slash: at `PUBLIC_URL`, or where this process listens."""
    site = settings.PUBLIC_URL.origin or f"http://{settings.HOST}:{settings.PORT}"
    return f"{site}{settings.PUBLIC_URL.path}{path}"
