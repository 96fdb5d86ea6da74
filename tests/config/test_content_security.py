"""Pages may only run our own files and the one script that has the page's nonce."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from config.middleware import ContentSecurityMiddleware


def policy(header: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in header.split(";"))}


def test_nothing_is_allowed_that_is_not_named(rf: RequestFactory) -> None:
    answer = ContentSecurityMiddleware(lambda _: HttpResponse("page"))(rf.get("/"))
    directives = policy(answer.headers["Content-Security-Policy"])
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == ["'self'"]
    assert directives["style-src"] == ["'self'"]
    assert directives["img-src"] == ["'self'", "data:"]
    assert directives["frame-ancestors"] == directives["base-uri"] == ["'none'"]
    assert directives["require-trusted-types-for"] == ["'script'"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_a_page_that_uses_its_nonce_may_run_that_script(rf: RequestFactory) -> None:
    nonces = []

    def view(request: HttpRequest) -> HttpResponse:
        nonces.append(str(request.csp_nonce))  # type: ignore[attr-defined]
        return HttpResponse("page")

    answers = [ContentSecurityMiddleware(view)(rf.get("/")) for _ in range(2)]
    for answer, nonce in zip(answers, nonces, strict=True):
        assert policy(answer.headers["Content-Security-Policy"])["script-src"] == ["'self'", f"'nonce-{nonce}'"]
    assert nonces[0] != nonces[1]


@pytest.mark.django_db
def test_the_admin_does_without_trusted_types(client: Client) -> None:
    directives = policy(client.get("/admin/").headers["Content-Security-Policy"])
    assert "require-trusted-types-for" not in directives
    assert directives["default-src"] == ["'none'"]
