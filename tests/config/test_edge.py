"""What is decided before anything else: health checks, the redirect to https, and the reason why it cannot work."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory

from chat.live import connections, handshake
from chat.runtime import database
from chat.security import csrf, origins
from config import proxies
from config.edge import redirect_to_https

HOST = "chat.example.org"


@pytest.fixture(autouse=True)
def forget_causes() -> Iterator[None]:
    origins.noticed.clear()
    yield
    database.close()


@pytest.fixture
def https(settings: Any) -> None:
    """An installation at https://chat.example.org."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_SSL_HOST = HOST
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = [HOST, "127.0.0.1"]
    settings.CSRF_TRUSTED_ORIGINS = [f"https://{HOST}"]


# Health checks


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "host", ["10.0.0.5:8000", "10.0.0.5", "kube-probe", "[::ffff:10.0.0.5]:8000", "", "a b", "x" * 300]
)
@pytest.mark.parametrize(("path", "words"), [("/healthz", "ok\n"), ("/readyz", '{"ready": true}')])
def test_probes_answer_to_any_host_and_tell_it_nothing(
    https: None, caplog: pytest.LogCaptureFixture, host: str, path: str, words: str
) -> None:
    answer = Client(headers={"Host": host}).get(path)
    assert (answer.status_code, answer.content.decode()) == (200, words)
    assert not caplog.records


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("path", "words"), [("/healthz", "ok\n"), ("/readyz", '{"ready": true}')])
async def test_probes_answer_as_a_server_asks(https: None, path: str, words: str) -> None:
    answer = await AsyncClient().get(path)  # with the host "testserver", which is not the installation's
    assert (answer.status_code, answer.content.decode()) == (200, words)


@pytest.mark.django_db(transaction=True)
def test_a_probe_with_the_right_host_is_told_more(https: None) -> None:
    answer = Client(headers={"Host": HOST}).get("/readyz").json()
    assert {"ready", "database", "migrations", "channel_layer"} <= answer.keys()


def test_any_other_address_answers_to_its_own_names_alone(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = Client(headers={"Host": "evil.example"}).get("/accounts/login/")
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["evil.example", "a b", "["])
@pytest.mark.parametrize(("path", "more"), [("/api/sessions/", set()), ("/v1/models", {"type", "param"})])
def test_a_program_that_asks_by_another_name_is_told_so_in_its_door_s_shape(
    host: str, path: str, more: set[str]
) -> None:
    answer = Client(headers={"Host": host}).get(path)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/json")
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "id"} | more
    assert (error["code"], "ALLOWED_HOSTS" in error["message"]) == ("bad_frame", True)
    assert host not in error["message"].split()


# The redirect to https

ELSEWHERE = {"X-Forwarded-For": "198.51.100.7"}
#: Requests by plain http that would be redirected for ever, and the text for the operator.
CIRCLES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nothing is said, the second time": ({}, {"led_to_https": "1"}, "sends no X-Forwarded-Proto"),
    "a proxy's signs, and nothing about https": (ELSEWHERE, {}, "sends no X-Forwarded-Proto"),
    "the same by another sign": ({"Via": "1.1 squid"}, {}, "sends no X-Forwarded-Proto"),
    "http is said, the second time": (
        {**ELSEWHERE, "X-Forwarded-Proto": "http"},
        {"led_to_https": "1"},
        "says X-Forwarded-Proto: http where https was expected",
    ),
}


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_circle_is_told_on_the_page_and_once_in_the_log(
    https: None, rf: RequestFactory, caplog: pytest.LogCaptureFixture, circle: str
) -> None:
    headers, cookies, cause = CIRCLES[circle]
    rf.cookies.load(cookies)
    with caplog.at_level(logging.WARNING, "chat"):
        for _ in range(3):
            answer = redirect_to_https(rf.get("/accounts/login/", headers={"Host": HOST, **headers}))
            assert isinstance(answer, HttpResponse)
            assert answer.status_code == 500
            assert cause in answer.content.decode()
            assert "no-store" in answer["Cache-Control"]
    assert len([record for record in caplog.records if cause in record.message]) == 1


def test_a_proxy_that_is_not_trusted_is_named(https: None) -> None:
    request = AsyncRequestFactory().get("/", headers={"Host": HOST})
    request.scope[proxies.IGNORED] = "10.0.0.3"
    answer = redirect_to_https(request)
    assert answer is not None
    assert "10.0.0.3, which is none of TRUSTED_PROXIES" in answer.content.decode()


@pytest.mark.parametrize("host", [HOST, "127.0.0.1:8000", "evil.example"])
@pytest.mark.parametrize("headers", [{}, {**ELSEWHERE, "X-Forwarded-Proto": "http"}], ids=["directly", "by a proxy"])
def test_plain_http_is_led_to_the_public_address(
    https: None, rf: RequestFactory, host: str, headers: dict[str, str]
) -> None:
    answer = redirect_to_https(rf.get("/a?b=c", headers={"Host": host, **headers}))
    assert answer is not None
    assert (answer.status_code, answer["Location"]) == (301, f"https://{HOST}/a?b=c")
    assert answer["Cache-Control"] == "no-store", "a browser that kept it would go round by itself"


def test_hsts_is_short_enough_to_go_back_to_http(https: None, db: None) -> None:
    client = Client(headers={"Host": HOST})
    for _ in range(3):
        assert client.get("/accounts/login/").status_code == 301
        assert client.get("/accounts/login/", headers={"X-Forwarded-Proto": "https"}).status_code == 200
        assert not client.cookies["led_to_https"].value


# Writes whose origin does not match the host of the request

OWN = "https://chat.example.org"
#: What a proxy does to a request from a page at https://chat.example.org, and the explanation.
MANGLED: dict[str, tuple[dict[str, str], list[str]]] = {
    "the scheme is lost": (
        {"Host": HOST, "Origin": OWN},
        [
            "asked as http://chat.example.org",
            "X-Forwarded-Proto: https",
            "TRUSTED_PROXIES",
            f"PUBLIC_URL must be {OWN}",
        ],
    ),
    "the host is lost": (
        {"Host": "127.0.0.1:8000", "Origin": OWN},
        ["asked as http://127.0.0.1:8000", "header Host", f"PUBLIC_URL must be {OWN}", "CSRF_TRUSTED_ORIGINS"],
    ),
    "the port is lost": (
        {"Host": HOST, "Origin": f"{OWN}:8443"},
        ["https://chat.example.org:8443", "header Host", "X-Forwarded-Proto: https"],
    ),
}


@pytest.mark.parametrize("door", ["page", "api"])
@pytest.mark.parametrize("mangled", MANGLED)
@pytest.mark.django_db(transaction=True)
def test_the_true_cause_is_told(
    settings: Any, caplog: pytest.LogCaptureFixture, django_user_model: Any, door: str, mangled: str
) -> None:
    settings.ALLOWED_HOSTS = [HOST, "127.0.0.1"]
    headers, expected = MANGLED[mangled]
    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_user("ada"))
    client.cookies["csrftoken"] = token = "a" * 32
    with caplog.at_level(logging.WARNING, "chat"):
        for _ in range(2):
            if door == "page":
                answer = client.post("/accounts/", {"csrfmiddlewaretoken": token}, headers=headers)
            else:
                answer = client.post(
                    "/api/sessions/", {}, "application/json", headers={**headers, "X-CSRFToken": token}
                )
            assert answer.status_code == 403
            for words in expected:
                assert words in answer.content.decode(), words
    assert len([record for record in caplog.records if record.name == "chat.security.origins"]) == 1


@pytest.mark.parametrize("door", ["page", "socket"])
@pytest.mark.parametrize("mangled", MANGLED)
@pytest.mark.django_db
def test_staff_find_the_cause(settings: Any, django_user_model: Any, door: str, mangled: str) -> None:
    """The admin shows it from the process's next heartbeat on, whichever process it was, to staff who cannot read the log."""
    settings.ALLOWED_HOSTS = [HOST, "127.0.0.1"]
    headers, expected = MANGLED[mangled]
    if door == "page":
        assert Client(enforce_csrf_checks=True).post("/accounts/login/", headers=headers).status_code == 403
    else:
        lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        assert not handshake.is_own_origin({"type": "websocket", "scheme": "ws", "headers": lines})
    connections.store_heartbeat("process 1")
    staff = Client(headers={"Host": HOST})
    staff.force_login(django_user_model.objects.create_superuser("root"))
    page = staff.get("/admin/chat/process/").content.decode()
    for words in expected:
        assert words in page, words


#: What else is missing, and the text for the user.
UNPROVEN: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "no cookie": ({}, {"X-CSRFToken": "a" * 32}, "no cookie csrftoken"),
    "no token": ({"csrftoken": "a" * 32}, {}, "has no token"),
    "the token of another login": ({"csrftoken": "a" * 32}, {"X-CSRFToken": "b" * 32}, "older than your last login"),
    "no token at all": ({"csrftoken": "a" * 32}, {"X-CSRFToken": "x"}, "older than your last login"),
}


@pytest.mark.parametrize("unproven", UNPROVEN)
def test_a_missing_origin_or_token_is_reported(rf: RequestFactory, unproven: str) -> None:
    cookies, headers, words = UNPROVEN[unproven]
    rf.cookies.load(cookies)
    request = rf.post("/api/sessions/", headers=headers)
    reason = csrf.forgery_reason(request)
    assert reason is not None
    assert words in csrf.explain_refusal(request, reason)
