"""Addresses of pages for mails, webhooks and other messages to the outside."""

from django.conf import settings

from chat.runtime.listening import own_address


def page_address(path: str) -> str:
    """A page's absolute URL, from its path with a leading slash: at `PUBLIC_URL`, or where this process listens."""
    site = settings.PUBLIC_URL.origin or own_address(settings.HOST, settings.PORT)
    return f"{site}{settings.PUBLIC_URL.path}{path}"
