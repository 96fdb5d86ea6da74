"""The pages' addresses."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path

from chat.web import branches as branch_pages
from chat.web import calls as call_pages
from chat.web import cases as case_pages
from chat.web import comparison as comparison_pages
from chat.web import own_data, reading
from chat.web import runs as run_pages
from chat.web import sessions as session_pages
from chat.web import sharing as sharing_pages
from chat.web import start as start_pages
from chat.web import tokens as token_pages
from chat.web import waiting as waiting_pages
from chat.web import webhooks as webhook_pages


def api_docs(request: HttpRequest) -> HttpResponse:
    """The page about the API. It is imported when it is first requested, with all calls of the API, so that no start waits for it."""
    from chat.web import api_page  # noqa: PLC0415

    return api_page.docs(request)


urlpatterns = [
    path("", session_pages.home, name="home"),
    path("sessions/", session_pages.sessions, name="sessions"),
    path("sessions/new/", start_pages.begin, name="begin"),
    path("sessions/<uuid:session_id>/", session_pages.session, name="session"),
    path("sessions/<uuid:session_id>/share/", sharing_pages.shares, name="shares"),
    path("sessions/<uuid:session_id>/copy/", branch_pages.copy, name="copy"),
    path("sessions/<uuid:session_id>/owner/", branch_pages.owner, name="owner"),
    path("sessions/<uuid:session_id>/leave/", branch_pages.leave, name="leave"),
    path("compare/", comparison_pages.compare, name="compare"),
    path("runs/<uuid:run_id>/branch/", branch_pages.branch, name="branch"),
    path("s/<str:secret>/", sharing_pages.join, name="join"),
    path("runs/<uuid:run_id>/", run_pages.run, name="run"),
    path("sessions/<uuid:session_id>/allowed/", waiting_pages.allowed, name="allowed"),
    path("waiting/", waiting_pages.index, name="waiting"),
    path("runs/<uuid:run_id>/decide/", waiting_pages.decide, name="decide"),
    path("runs/<uuid:run_id>/calls/<int:number>/", call_pages.call, name="call"),
    path("accounts/reading/", reading.choose_reading, name="reading"),
    # Generated from the descriptions of the calls, at the addresses next to it.
    re_path(r"^api/docs/?$", api_docs, name="api-docs"),
    path("accounts/tokens/", token_pages.index, name="tokens"),
    path("accounts/tokens/<uuid:token_id>/revoke/", token_pages.revoke, name="token-revoke"),
    path("accounts/webhooks/", webhook_pages.index, name="webhooks"),
    path("accounts/webhooks/<uuid:webhook_id>/remove/", webhook_pages.remove, name="webhook-remove"),
    path("accounts/webhooks/deliveries/<uuid:delivery_id>/retry/", webhook_pages.retry, name="webhook-retry"),
    path("accounts/webhooks/<uuid:webhook_id>/test/", webhook_pages.test, name="webhook-test"),
    # Not with the other pages of accounts, of which few are served at the same time: this one may take long.
    path("data/archive/", own_data.send_archive, name="own_archive"),
    path("runs/<uuid:run_id>/case/", case_pages.of_run, name="run-case"),
    path("sets/", include("chat.web.cases")),
    path("schedules/", include("chat.web.schedules")),
]
