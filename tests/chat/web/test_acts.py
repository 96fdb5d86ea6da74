"""Actions that have only a form, requested by a user who is no longer logged in: the login leads to the page with the form."""

import uuid
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.chat import making

ID = uuid.UUID(int=7)
PAGE = f"/sessions/{ID}/"
#: The ``Referer`` of the request, and where the login leads.
REFERERS = (
    (f"http://testserver{PAGE}", PAGE),
    (f"http://testserver{PAGE}?before=7&x=%2F", f"{PAGE}?before=7&x=%2F"),
    (f"http://testserver{PAGE}#step-3", PAGE),
    (f"http://testserver/sessions/{ID}/copy/", "/"),
    ("http://testserver/nothing/here/", "/"),
    ("http://evil.example/sessions/", "/"),
    ("//evil.example/sessions/", "/"),
    ("javascript:alert(1)", "/"),
    ("", "/"),
)


def acts(patterns: list[URLPattern | URLResolver], space: str = "") -> Iterator[str]:
    """The addresses of all actions that have only a form."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from acts(pattern.url_patterns, f"{space}{pattern.namespace}:" if pattern.namespace else space)
        elif getattr(pattern.callback, "is_form_action", False):
            names = {
                name: kind.to_python("7") if "int" in type(kind).__name__.lower() else ID
                for name, kind in pattern.pattern.converters.items()
            }
            yield reverse(f"{space}{pattern.name}", kwargs=names)


def leads_to(client: Client, address: str, referer: str) -> str:
    answer = client.post(address, headers={"Referer": referer})
    assert answer.status_code == 302
    login = urlsplit(answer["Location"])
    assert login.path == reverse("login")
    return parse_qs(login.query)["next"][0]


@pytest.mark.django_db
def test_the_login_leads_to_the_page_whose_form_it_was(client: Client) -> None:
    addresses = list(acts(get_resolver().url_patterns))
    assert {f"/sessions/{ID}/{act}/" for act in ("copy", "leave", "owner")} <= set(addresses)
    for address in addresses:
        assert leads_to(client, address, f"http://testserver{PAGE}") == PAGE, address
        shown = client.get(address)
        assert (shown.status_code, shown["Allow"]) == (405, "POST"), address
        assert "There is nothing to show here" in shown.content.decode()
    for referer, page in REFERERS:
        assert leads_to(client, f"/sessions/{ID}/copy/", referer) == page, referer


@pytest.mark.django_db
def test_the_act_is_done_on_that_page_after_the_login(client: Client) -> None:
    user = making.user("ada")
    session = making.session(user)
    page = reverse("session", args=[session.pk])
    asked = client.post(reverse("copy", args=[session.pk]), headers={"Referer": f"http://testserver{page}"})
    answer = client.post(asked["Location"], {"username": "ada", "password": "correct horse 17"}, follow=True)
    assert (answer.status_code, answer.redirect_chain[-1][0]) == (200, page)
