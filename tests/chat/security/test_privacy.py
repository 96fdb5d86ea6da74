"""Who may do what, as one table of all addresses and all commands of the socket.

Whatever shows staff others' data must also write an audit entry. A new address or command without a row fails.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import websockets
from django.db.models import QuerySet
from django.test import AsyncClient, Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from agents import CallBegun, ModelRequest
from chat import access, protocol
from chat.accounts.models import User
from chat.cases import commands as case_commands
from chat.cases import set_runs
from chat.cases import sharing as set_sharing
from chat.cases.commands import CaseFields
from chat.models import (
    ApiToken,
    AuditEntry,
    Case,
    CaseSet,
    Door,
    File,
    Run,
    Schedule,
    Scope,
    Session,
    SetShare,
    StandingApproval,
    Webhook,
)
from chat.runs import notes, sharing
from chat.runtime import database
from chat.schedules import commands as schedule_commands
from chat.security import audit, tokens
from chat.store import webhooks
from chat.store.calls import CallWriter
from tests.chat import making
from tests.serving import Browser, Server, Socket

#: A text in every session of the owner's, which must be in no answer to a user who may not see the session.
SECRET = "the okapi is at the quay"
#: "staff" may see sessions and stop runs; "bare" is staff without permissions. The owner's session is shared with a watcher and a driver.
PEOPLE = ("anonymous", "another", "owner", "bare", "watcher", "driver", "staff")
LOGIN = "login"
#: The statuses after which something may have changed; after any other, nothing has.
LET_IN = (200, 201, 202, 204, 302)
#: The statuses of answers that show something.
SHOWN = (200, 201, 202)


@dataclass(frozen=True)
class Row:
    """A request, and the status for each user; LOGIN stands for a redirect to the login page.

    For the content of a session, a watcher gets what staff get, and a driver what a watcher gets, unless the row says otherwise; for
    everything else they get what another user gets.
    """

    method: str
    anonymous: int | str
    another: int | str
    owner: int | str
    staff: int | str
    body: str = "{}"
    query: str = ""
    watcher: int | str | None = None
    driver: int | str | None = None

    def expected(self, address: str, person: str) -> int | str:
        """The status for a user; being staff only opens the admin itself, and nothing of others."""
        if person == "bare":
            person = "staff" if address.startswith("admin/") else "another"
        if person == "driver" and self.driver is None:
            person = "watcher"
        if person == "watcher" and self.watcher is None:
            person = "staff" if IN_A_SESSION.search(address) and not address.startswith("admin/") else "another"
        answer: int | str = getattr(self, person)
        return answer


def page(another: int, owner: int, staff: int, *, query: str = "") -> list[Row]:
    """A page: without a login, it redirects to the login page."""
    return [Row("GET", LOGIN, another, owner, staff, query=query), Row("POST", 405, 405, 405, 405)]


#: Names of parameters of addresses that belong to a session.
IN_A_SESSION = re.compile(r"<(?:\w+:)?(?:session|run|file)_id>")
SCHEDULE = '{"message": "hello", "every_minutes": 60}'
AGUI = '{"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "hello"}]}'
ROWS: dict[str, list[Row]] = {
    # Pages. Lists show the user's own objects, also to staff.
    "": page(200, 200, 200),
    "sessions/": page(200, 200, 200, query="?q=okapi"),
    "sessions/new/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 403, 403, 403)],
    "sessions/<uuid:session_id>/": page(404, 200, 200),
    "runs/<uuid:run_id>/": page(404, 200, 200),
    "runs/<uuid:run_id>/calls/<int:number>/": [
        Row("GET", LOGIN, 404, 200, 200, watcher=404, driver=200),
        Row("POST", 405, 405, 405, 405),
    ],
    # Decisions are for drivers; a call that does not exist is not found for anybody.
    "waiting/": page(200, 200, 200),
    "runs/<uuid:run_id>/decide/": [
        Row("GET", LOGIN, 404, 404, 403, watcher=403, driver=404),
        Row("POST", LOGIN, 404, 404, 403, watcher=403, driver=404),
    ],
    "sessions/<uuid:session_id>/allowed/": [
        Row("GET", LOGIN, 404, 200, 403, watcher=403, driver=200),
        Row("POST", LOGIN, 404, 404, 403, watcher=403, driver=404),
    ],
    # Shares are shown to the owner only; the page of a share link to any logged-in user who has the link.
    "sessions/<uuid:session_id>/share/": [Row("GET", LOGIN, 404, 200, 404), Row("POST", LOGIN, 404, 400, 404)],
    # For users who see the session, except staff; the form lacks fields, so it is refused. Here the run has not ended, and no question was
    # asked.
    # For two runs that the user may see; here none is named.
    "compare/": page(404, 404, 404),
    "runs/<uuid:run_id>/branch/": [
        Row("GET", LOGIN, 404, 404, 403, watcher=404),
        Row("POST", LOGIN, 404, 404, 403, watcher=404),
    ],
    "sessions/<uuid:session_id>/copy/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 403, watcher=302),
    ],
    "sessions/<uuid:session_id>/owner/": [Row("POST", LOGIN, 404, 404, 404)],
    "sessions/<uuid:session_id>/leave/": [Row("POST", LOGIN, 404, 403, 403, watcher=302)],
    "s/<str:secret>/": [Row("GET", LOGIN, 404, 404, 404), Row("POST", LOGIN, 404, 404, 404)],
    # The user's own data.
    "data/archive/": [Row("GET", LOGIN, 200, 200, 200), Row("POST", 405, 405, 405, 405)],
    # The API.
    "^api/docs/?$": [Row("GET", LOGIN, 200, 200, 200)],
    "api/openapi.json": [Row("GET", 401, 200, 200, 200)],
    "api/asyncapi.json": [Row("GET", 401, 200, 200, 200)],
    "api/": [Row("GET", 401, 404, 404, 404), Row("POST", 401, 404, 404, 404)],
    "api/search/": [Row("GET", 401, 200, 200, 200, query="?q=okapi"), Row("POST", 401, 405, 405, 405)],
    "api/agents/": [Row("GET", 401, 200, 200, 200), Row("POST", 401, 405, 405, 405)],
    "api/sessions/": [
        Row("GET", 401, 200, 200, 200, query="?q=okapi"),
        Row("POST", 401, 201, 201, 201),
        Row("DELETE", 401, 405, 405, 405),
    ],
    "api/sessions/<session_id>/": [
        Row("GET", 401, 404, 200, 200),
        Row("PATCH", 401, 404, 200, 403, '{"title": "mine"}'),
        Row("DELETE", 401, 404, 204, 403),
    ],
    "api/sessions/<session_id>/events/": [Row("GET", 401, 404, 200, 200)],
    "api/sessions/<session_id>/stream/": [Row("GET", 401, 404, 200, 200), Row("POST", 401, 405, 405, 405)],
    "api/sessions/<session_id>/events/<seq>/content/": [Row("GET", 401, 404, 200, 200)],
    "api/sessions/<session_id>/messages/": [Row("POST", 401, 404, 202, 403, '{"message": "hello"}', driver=202)],
    "api/sessions/<session_id>/shares/": [
        Row("GET", 401, 404, 200, 403),
        Row("POST", 401, 404, 201, 403, '{"link": true}'),
    ],
    "api/shares/<share_id>/": [
        Row("PATCH", 401, 404, 200, 403, '{"role": "driver"}', watcher=403),
        Row("DELETE", 401, 404, 204, 403, watcher=403),
    ],
    # A session that begins as a copy: for users who see the original, except staff.
    "api/sessions/<session_id>/copy/": [
        Row("GET", 401, 405, 405, 405),
        Row("POST", 401, 404, 201, 403, watcher=201),
    ],
    "api/sessions/<session_id>/branch/": [
        Row("POST", 401, 404, 201, 403, '{"after_seq": 0}', watcher=201),
        Row("POST", 401, 404, 201, 403, '{"after_seq": 0, "message": "hello"}', watcher=201),
    ],
    # The owner offers the session, and the user who was offered it accepts; here it was offered to nobody.
    "api/offers/": [Row("GET", 401, 200, 200, 200)],
    "api/sessions/<session_id>/owner/": [
        Row("POST", 401, 404, 201, 403, '{"user": "another"}'),
        Row("DELETE", 401, 404, 404, 404),
    ],
    "api/sessions/<session_id>/owner/accept/": [Row("POST", 401, 404, 404, 404)],
    "api/sessions/<session_id>/leave/": [Row("POST", 401, 404, 403, 403, watcher=204)],
    # Users who see the session by a right of their own may judge and comment; staff may not.
    "api/runs/<run_id>/verdict/": [
        Row("GET", 401, 404, 200, 200),
        Row("PUT", 401, 404, 200, 403, '{"verdict": "good"}', watcher=200),
    ],
    "api/sessions/<session_id>/comments/": [
        Row("GET", 401, 404, 200, 200),
        Row("POST", 401, 404, 201, 403, '{"seq": 1, "text": "so"}', watcher=201),
    ],
    # Here it is the owner's own comment.
    "api/comments/<comment_id>/": [
        Row("PATCH", 401, 404, 200, 403, '{"text": "so"}', watcher=403),
        Row("DELETE", 401, 404, 204, 403, watcher=403),
    ],
    # As one file, and imported from one: the owner's, like any session.
    "api/sessions/<session_id>/export/": [
        Row("GET", 401, 404, 200, 200, query="?format=html"),
        Row("POST", 401, 405, 405, 405),
    ],
    "api/sessions/<session_id>/export/preview/": [Row("GET", 401, 404, 200, 200)],
    "api/runs/<run_id>/export/": [Row("GET", 401, 404, 200, 200, query="?format=markdown&mask=false")],
    "api/runs/<run_id>/export/preview/": [Row("GET", 401, 404, 200, 200)],
    "api/sessions/import/": [Row("GET", 401, 405, 405, 405), Row("POST", 401, 400, 400, 400)],
    # Files: for their owner, and users who see a session that uses them. A form is sent in `tests/chat/api/test_files.py`.
    # Each user has a session of their own for it; the id of another user's session is a name like any other.
    "api/agui/<agent>/": [Row("GET", 401, 405, 405, 405), Row("POST", 401, 404, 404, 404, AGUI)],
    "api/files/": [Row("GET", 401, 405, 405, 405), Row("POST", 401, 400, 400, 400)],
    "api/files/<file_id>/": [Row("GET", 401, 404, 200, 200)],
    "api/files/<file_id>/text/": [Row("GET", 401, 404, 200, 200)],
    "api/runs/<run_id>/": [Row("GET", 401, 404, 200, 200)],
    "api/runs/<run_id>/calls/": [
        Row("GET", 401, 404, 200, 200, watcher=403, driver=200),
        Row("POST", 401, 405, 405, 405),
    ],
    "api/runs/<run_id>/calls/<number>/messages/": [Row("GET", 401, 404, 200, 200, watcher=403, driver=200)],
    "api/sessions/<session_id>/steer/": [Row("POST", 401, 404, 202, 403, '{"message": "hello"}', driver=202)],
    "api/sessions/<session_id>/unsteer/": [
        Row("POST", 401, 404, 409, 403, '{"client_message_id": "hello"}', driver=409),
    ],
    "api/runs/<run_id>/cancel/": [Row("POST", 401, 404, 202, 202, watcher=403, driver=202)],
    "api/runs/<run_id>/continue/": [Row("POST", 401, 404, 409, 403, driver=409)],
    # Calls that wait: for drivers of the session. Here none waits, so there is nothing to decide.
    "api/waiting/": [Row("GET", 401, 200, 200, 200), Row("POST", 401, 405, 405, 405)],
    "api/runs/<run_id>/approve/": [
        Row("POST", 401, 404, 409, 403, '{"tool_call_id": "c", "decision": "allow"}', watcher=403, driver=409)
    ],
    "api/runs/<run_id>/answer/": [
        Row("POST", 401, 404, 409, 403, '{"tool_call_id": "c", "answers": {}}', watcher=403, driver=409)
    ],
    "api/sessions/<session_id>/approvals/": [Row("GET", 401, 404, 200, 200)],
    "api/sessions/<session_id>/approvals/<approval_id>/": [
        Row("DELETE", 401, 404, 204, 403, watcher=403, driver=204),
    ],
    # OpenAI's API, which accepts tokens only.
    "v1/models": [Row("GET", 401, 401, 401, 401), Row("POST", 401, 401, 401, 401)],
    "v1/models/<str:name>": [Row("GET", 401, 401, 401, 401)],
    "v1/chat/completions": [Row("GET", 401, 401, 401, 401), Row("POST", 401, 401, 401, 401)],
    "v1/responses": [Row("GET", 401, 401, 401, 401), Row("POST", 401, 401, 401, 401)],
    "v1/responses/<str:response_id>": [Row("GET", 401, 401, 401, 401)],
    "v1/": [Row("GET", 401, 401, 401, 401), Row("POST", 401, 401, 401, 401)],
    # Sets of cases: for their owner, and users with whom they are shared; drivers change the cases and run the set. A case is made of a run
    # by the session's owner, and by staff in a set of their own. Here the set is being run.
    "sets/": [Row("GET", LOGIN, 200, 200, 200), Row("POST", LOGIN, 400, 400, 400)],
    "sets/<uuid:set_id>/": [Row("GET", LOGIN, 404, 200, 404, watcher=200), Row("POST", 405, 405, 405, 405)],
    "sets/<uuid:set_id>/rename/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 404, watcher=403),
    ],
    "sets/<uuid:set_id>/delete/": [
        Row("GET", LOGIN, 404, 200, 404, watcher=403),
        Row("POST", LOGIN, 404, 302, 404, watcher=403),
    ],
    "sets/<uuid:set_id>/share/": [Row("GET", LOGIN, 404, 200, 404), Row("POST", LOGIN, 404, 400, 404)],
    "sets/<uuid:set_id>/leave/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 404, watcher=302),
    ],
    "sets/<uuid:set_id>/run/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 404, watcher=403, driver=302),
    ],
    "sets/<uuid:set_id>/runs/<int:number>/stop/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 404, watcher=403, driver=302),
    ],
    "sets/<uuid:set_id>/runs/<int:number>/csv/": [Row("GET", LOGIN, 404, 200, 404, watcher=200)],
    "sets/<uuid:set_id>/export/": [Row("GET", LOGIN, 404, 200, 404, watcher=200)],
    "sets/<uuid:set_id>/import/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 302, 404, watcher=302),
    ],
    "sets/<uuid:set_id>/cases/new/": [Row("GET", LOGIN, 404, 200, 404, watcher=403, driver=200)],
    "sets/<uuid:set_id>/cases/<uuid:case_id>/": [
        Row("GET", LOGIN, 404, 200, 404, watcher=200),
        Row("POST", LOGIN, 404, 200, 404, watcher=403, driver=200),
    ],
    "runs/<uuid:run_id>/case/": [Row("GET", LOGIN, 404, 200, 200, watcher=403)],
    "api/sets/": [
        Row("GET", 401, 200, 200, 200),
        Row("GET", 401, 200, 200, 200, query="?shared=true"),
        Row("POST", 401, 201, 201, 201, '{"name": "mine"}'),
    ],
    "api/sets/<set_id>/": [
        Row("GET", 401, 404, 200, 404, watcher=200),
        Row("PATCH", 401, 404, 200, 404, '{"name": "mine"}', watcher=403),
        Row("DELETE", 401, 404, 204, 404, watcher=403),
    ],
    "api/sets/<set_id>/shares/": [
        Row("GET", 401, 404, 200, 404, watcher=403),
        Row("POST", 401, 404, 201, 404, '{"user": "another"}', watcher=403),
    ],
    "api/sets/<set_id>/shares/<share_id>/": [
        Row("PATCH", 401, 404, 200, 404, '{"role": "driver"}', watcher=403),
        Row("DELETE", 401, 404, 204, 404, watcher=403),
    ],
    "api/sets/<set_id>/leave/": [Row("POST", 401, 404, 403, 404, watcher=204)],
    "api/sets/<set_id>/cases/": [
        Row("GET", 401, 404, 200, 404, watcher=200),
        Row("POST", 401, 404, 201, 404, '{"question": "hello"}', watcher=403, driver=201),
    ],
    "api/sets/<set_id>/cases/<case_id>/": [
        Row("PATCH", 401, 404, 200, 404, '{"question": "hello"}', watcher=403, driver=200),
        Row("DELETE", 401, 404, 204, 404, watcher=403, driver=204),
    ],
    "api/sets/<set_id>/export/": [
        Row("GET", 401, 404, 200, 404, watcher=200),
        Row("POST", 401, 405, 405, 405),
    ],
    "api/sets/<set_id>/import/": [
        Row("POST", 401, 404, 201, 404, '{"question": "hello"}', watcher=403, driver=201),
    ],
    "api/sets/<set_id>/runs/": [
        Row("GET", 401, 404, 200, 404, watcher=200),
        Row("POST", 401, 404, 409, 404, watcher=403, driver=409),
    ],
    "api/sets/<set_id>/runs/<number>/": [Row("GET", 401, 404, 200, 404, watcher=200)],
    "api/sets/<set_id>/runs/<number>/csv/": [Row("GET", 401, 404, 200, 404, watcher=200)],
    "api/sets/<set_id>/runs/<number>/results/": [Row("GET", 401, 404, 200, 404, watcher=200)],
    "api/sets/<set_id>/runs/<number>/stop/": [Row("POST", 401, 404, 202, 404, watcher=403, driver=202)],
    "api/runs/<run_id>/case/": [Row("POST", 401, 404, 201, 201, '{"set_name": "mine"}', watcher=403)],
    # Schedules are for their owner only; staff change them in the admin.
    "schedules/": page(200, 200, 200),
    "schedules/new/": [Row("GET", LOGIN, 200, 200, 200)],
    "schedules/preview/": [Row("GET", LOGIN, 200, 200, 200), Row("POST", 405, 405, 405, 405)],
    "schedules/<uuid:schedule_id>/": [Row("GET", LOGIN, 404, 200, 404)],
    "schedules/<uuid:schedule_id>/run/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 404, 302, 404)],
    "schedules/<uuid:schedule_id>/switch/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 404, 302, 404)],
    "schedules/<uuid:schedule_id>/delete/": [Row("GET", LOGIN, 404, 200, 404), Row("POST", LOGIN, 404, 302, 404)],
    "api/schedules/": [Row("GET", 401, 200, 200, 200), Row("POST", 401, 201, 201, 201, SCHEDULE)],
    "api/schedules/<schedule_id>/": [
        Row("GET", 401, 404, 200, 404),
        Row("PATCH", 401, 404, 200, 404, '{"name": "mine"}'),
        Row("DELETE", 401, 404, 204, 404),
    ],
    "api/schedules/<schedule_id>/run/": [Row("POST", 401, 404, 202, 404)],
    # Tokens are for their owner only; those of others are as if they did not exist.
    "api/tokens/": [
        Row("GET", 401, 200, 200, 200),
        Row("POST", 401, 201, 201, 201, '{"name": "mine", "scope": "read"}'),
    ],
    "api/tokens/<token_id>/": [Row("DELETE", 401, 404, 204, 404), Row("GET", 401, 405, 405, 405)],
    "api/notifications/": [Row("GET", 401, 200, 200, 200)],
    # Accounts: each user's own only.
    "accounts/": [Row("GET", LOGIN, 200, 200, 200)],
    # Here the operator has allowed none.
    "accounts/webhooks/": [Row("GET", LOGIN, 404, 404, 404)],
    "accounts/webhooks/<uuid:webhook_id>/remove/": [Row("POST", LOGIN, 404, 302, 404)],
    "accounts/webhooks/<uuid:webhook_id>/test/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 404, 302, 404)],
    "accounts/webhooks/deliveries/<uuid:delivery_id>/retry/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 404, 404, 404),
    ],
    "accounts/tokens/": [Row("GET", LOGIN, 200, 200, 200)],
    "accounts/tokens/<uuid:token_id>/revoke/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 404, 302, 404)],
    "accounts/data/": [Row("GET", LOGIN, 200, 200, 200), Row("POST", 405, 405, 405, 405)],
    "accounts/data/delete/": [Row("GET", LOGIN, 302, 302, 302), Row("POST", LOGIN, 302, 302, 302)],
    "accounts/login/": [Row("GET", 200, 200, 200, 200)],
    "accounts/logout/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, LOGIN, LOGIN, LOGIN)],
    "accounts/password_change/": [Row("GET", LOGIN, 200, 200, 200)],
    "accounts/signup/": [Row("GET", 404, 404, 404, 404), Row("POST", 404, 404, 404, 404)],
    "accounts/oidc/login/": [Row("GET", 404, 404, 404, 404), Row("POST", 405, 405, 405, 405)],
    "accounts/oidc/callback/": [Row("GET", 404, 404, 404, 404), Row("POST", 405, 405, 405, 405)],
    "accounts/oidc/logout/": [Row("GET", 404, 404, 404, 404), Row("POST", 405, 405, 405, 405)],
    "accounts/email/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 404, 404, 404)],
    "accounts/email/<str:key>/": [Row("GET", LOGIN, 404, 404, 404), Row("POST", LOGIN, 404, 404, 404)],
    # Here no mail is sent, and a link that no mail has contained is invalid.
    "accounts/password_reset/": [Row("GET", 404, 404, 404, 404), Row("POST", 404, 404, 404, 404)],
    "accounts/password_reset/<uidb64>/pr_<token>/": [Row("GET", 404, 404, 404, 404), Row("POST", 404, 404, 404, 404)],
    "accounts/mail/stop/<str:signed>/": [Row("GET", 404, 404, 404, 404), Row("POST", 404, 404, 404, 404)],
    # Stages of a login: users who are not in that stage are redirected to the login, or to the start page.
    "accounts/second-factor/": [Row("GET", LOGIN, 302, 302, 302), Row("POST", LOGIN, 302, 302, 302)],
    "accounts/second-factor/required/": [Row("GET", LOGIN, 302, 302, 302), Row("POST", LOGIN, 302, 302, 302)],
    "accounts/passkey/": [Row("GET", 405, 405, 405, 405), Row("POST", 200, 200, 200, 200)],
    "accounts/confirm/": [Row("GET", LOGIN, 200, 200, 200)],
    "accounts/security/": [Row("GET", LOGIN, 200, 200, 200)],
    # Only for users who have entered their password recently.
    "accounts/security/app/": [Row("GET", LOGIN, 302, 302, 302)],
    "accounts/security/codes/": [Row("GET", LOGIN, 302, 302, 302), Row("POST", LOGIN, 302, 302, 302)],
    "accounts/security/passkeys/add/": [Row("GET", LOGIN, 302, 302, 302)],
    "accounts/security/factors/<int:factor_id>/remove/": [
        Row("GET", 405, 405, 405, 405),
        Row("POST", LOGIN, 302, 302, 302),
    ],
    # Whether others see where the user reads.
    "accounts/reading/": [Row("GET", 405, 405, 405, 405), Row("POST", LOGIN, 302, 302, 302)],
    # The language of pages; for a logged-in user it is stored with the account.
    "accounts/language/": [Row("GET", 405, 405, 405, 405), Row("POST", 302, 302, 302, 302)],
    # The admin: here staff have no permissions; with them they see what the permissions say.
    "admin/": [Row("GET", LOGIN, LOGIN, LOGIN, 200)],
    "admin/login/": [Row("GET", LOGIN, LOGIN, LOGIN, LOGIN)],
    "admin/logout/": [Row("GET", 302, 302, 302, 405)],
    "admin/password_change/": [Row("GET", LOGIN, LOGIN, LOGIN, 302)],
    "admin/password_change/done/": [Row("GET", LOGIN, LOGIN, LOGIN, 200)],
    "admin/autocomplete/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    "admin/jsi18n/": [Row("GET", LOGIN, LOGIN, LOGIN, 200)],
    "admin/r/<path:content_type_id>/<path:object_id>/": [Row("GET", LOGIN, LOGIN, LOGIN, 404)],
    # The runs at work now, and the list of runs as a file: like the pages of runs.
    "admin/chat/run/now/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/run/csv/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/run/figures/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    # Versions of agents: for staff who may view agents; changes for those who may change them.
    "admin/chat/agent/models/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/agent/policy/": [Row("GET", LOGIN, LOGIN, LOGIN, 405), Row("POST", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/agent/<int:agent_id>/versions/<int:number>/": [Row("GET", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/agent/<int:agent_id>/versions/<int:number>/try/": [
        Row("GET", LOGIN, LOGIN, LOGIN, 403),
        Row("POST", LOGIN, LOGIN, LOGIN, 403),
    ],
    "admin/chat/mcpserver/<int:pk>/try/": [Row("GET", LOGIN, LOGIN, LOGIN, 405), Row("POST", LOGIN, LOGIN, LOGIN, 403)],
    "admin/chat/agent/<int:agent_id>/do/<str:act>/": [
        Row("GET", LOGIN, LOGIN, LOGIN, 405),
        Row("POST", LOGIN, LOGIN, LOGIN, 403),
    ],
    "admin/^(?P<app_label>auth|chat|axes|accounts)/$": [Row("GET", LOGIN, LOGIN, LOGIN, 404)],
    "admin/(?P<url>.*)$": [Row("GET", LOGIN, LOGIN, LOGIN, 404)],
    # The address of accounts in earlier versions: redirects everybody.
    "^admin/auth/user/(?P<rest>.*)$": [Row("GET", 301, 301, 301, 301)],
    # The icon, a static file.
    "favicon.ico": [Row("GET", 301, 301, 301, 301)],
    # For monitoring.
    "healthz": [Row("GET", 200, 200, 200, 200), Row("POST", 405, 405, 405, 405)],
    "readyz": [Row("GET", 200, 200, 200, 200), Row("POST", 405, 405, 405, 405)],
    "healthz/echo": [Row("GET", 404, 404, 404, 404), Row("POST", 405, 405, 405, 405)],
    "metrics": [Row("GET", 401, 403, 403, 403), Row("POST", 405, 405, 405, 405)],
}
#: The pages of every model in the admin.
MODEL_PAGE = re.compile(
    r"admin/(auth|axes|chat|accounts)/\w+/((add|act/<str:name>|<path:object_id>(/\w+)?|<id>/password)/)?"
)
#: Parameters of addresses that are UUIDs; others are numbers or names.
UUIDS = (
    "session_id run_id set_id case_id token_id webhook_id file_id schedule_id delivery_id share_id comment_id".split()
)
#: Those that are about the owner's session or run.
OWN_ID = re.compile(r"admin/chat/(session|run)/")
MODEL_ROWS = [Row("GET", LOGIN, LOGIN, LOGIN, 403), Row("POST", LOGIN, LOGIN, LOGIN, 403)]
#: An object's address without a suffix redirects to its page, and objects that do not exist have no history, for all who may use the admin.
LEADS_ON = [Row("GET", LOGIN, LOGIN, LOGIN, 302)]


def views(patterns: Sequence[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each address, and its view."""
    for pattern in patterns:
        here = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns, here)
        else:
            assert isinstance(pattern, URLPattern)
            yield here, pattern.callback


VIEWS = list(views(get_resolver().url_patterns))
ADDRESSES = sorted({name for name, _ in VIEWS})


def rows_of(address: str) -> list[Row]:
    if address in ROWS:
        return ROWS[address]
    if MODEL_PAGE.fullmatch(address):
        nothing = address.endswith("/history/") and not OWN_ID.match(address)
        return LEADS_ON if nothing or address.endswith("/<path:object_id>/") else MODEL_ROWS
    pytest.fail(f"{address} has no row in the table: say who may do what there.")


def test_no_row_is_about_an_address_that_is_gone() -> None:
    assert set(ROWS) <= set(ADDRESSES)


@pytest.mark.django_db
def test_nothing_is_done_for_another_site() -> None:
    """Which sends the cookie of whoever is logged in here, and has no token: pages, the administration and the API refuse it."""
    exempt = {name for name, view in VIEWS if getattr(view, "csrf_exempt", False)}
    # The link of a mail, which is signed, and programs that log in with tokens, where no cookie counts.
    assert {name for name in exempt if not name.startswith(("api/", "v1/"))} == {"accounts/mail/stop/<str:signed>/"}
    client = Client(enforce_csrf_checks=True)
    client.force_login(making.staff(access.VIEW_SESSIONS))
    of_api = [name for name in ADDRESSES if name.startswith(("api/", "v1/")) or name == "sessions/new/"]
    came = {name: client.post(filled_in(name, None, None), "{}", "application/json").status_code for name in of_api}
    # What no address of the API is, is not found.
    assert came.pop("api/") == 404
    assert [name for name, status in came.items() if status not in ((401,) if name[:3] == "v1/" else (403, 405))] == []


@pytest.fixture
async def clients(transactional_db: None) -> AsyncIterator[dict[str, AsyncClient]]:
    def make() -> None:
        for name in ("another", "owner", "watcher", "driver"):
            making.user(name)
        making.staff(name="bare")
        making.staff(access.VIEW_SESSIONS, access.STOP_RUNS)
        for user in User.objects.all():
            making.session(user, title=f"{user}'s own")

    await database.write(make)
    made = {name: AsyncClient() for name in PEOPLE}
    for name in PEOPLE[1:]:
        await made[name].aforce_login(await User.objects.aget(username=name))
    yield made
    database.close()


def owned() -> tuple[Session, Run]:
    """A session of the owner's with a run at work, whose log contains a secret, and a schedule for it."""
    owner = User.objects.get(username="owner")
    session = making.session(owner, title=SECRET)
    fields = {"message": SECRET, "every_minutes": 60, "session_id": str(session.pk)}
    schedule_commands.make(owner, fields, timezone.now())
    run = making.run(session, message=SECRET)
    making.append(run, making.thought(SECRET))
    making.file(owner, SECRET, session)
    for role in (access.Role.WATCHER, access.Role.DRIVER):
        sharing.make_share(owner, session.pk, sharing.ShareTarget(user=role), role, None, Door.API)
    tokens.make_token(owner, "a token", Scope.MANAGE, None)
    Webhook.objects.filter(owner=owner).delete()
    webhooks.make_webhook(owner, "https://example.org/")
    asked = ModelRequest("m", [{"role": "user", "content": SECRET}])
    CallWriter(run, provider="default").write([CallBegun(1, 1, 1.5, asked)])
    notes.write_comment(owner, session.pk, 1, SECRET)
    case_set = case_commands.make_set(owner, SECRET)
    case_commands.add_case(owner, case_set.pk, CaseFields(SECRET), Door.API)
    for role in (access.Role.WATCHER, access.Role.DRIVER):
        set_sharing.make_share(owner, case_set.pk, sharing.ShareTarget(user=role), role, None, Door.API)
    set_runs.begin(owner, case_set.pk)
    StandingApproval.objects.create(session=session, user=owner, tool_name="python", rule="r")
    return session, run


def things_of(session: Session, address: str) -> dict[str, QuerySet[Any]]:
    """What an address can name beside the session and its run; the first row of each is meant, and only what is named is read."""
    case_sets = CaseSet.objects.filter(owner=session.owner_id)
    shares = SetShare.objects.filter(case_set=case_sets[:1]) if "<set_id>" in address else session.shares.all()
    return {
        "set_id": case_sets,
        "case_id": Case.objects.filter(case_set=case_sets[:1]),
        "token_id": ApiToken.objects.filter(user=session.owner_id, revoked_at=None),
        "webhook_id": Webhook.objects.filter(owner=session.owner_id),
        "file_id": File.objects.filter(uses__session=session),
        "schedule_id": Schedule.objects.filter(session=session),
        "share_id": shares,
        "approval_id": session.standing_approvals.all(),
        "comment_id": session.comments.all(),
    }


def filled_in(address: str, session: Session | None, run: Run | None) -> str:
    """The address with identifiers: those of a session and its run, or identifiers that nothing has."""
    about = OWN_ID.match(address)
    act = "delete" if about and about[1] == "session" else "pause" if "/schedule/" in address else "stop"
    things = things_of(session, address) if session else {}
    numbered = {"approval_id": str(2**40), "seq": "1", "name": act}

    def identifier(part: re.Match[str]) -> str:
        name = part[1]
        if about and name not in numbered and name not in UUIDS:
            name = f"{about[1]}_id"
        meant = {"session_id": session, "run_id": run}.get(name) or (name in things and things[name].first())
        if meant:
            return str(meant.pk)
        return numbered.get(name) or (str(uuid4()) if name in UUIDS else "1")

    path = re.sub(r"<(?:\w+:)?(\w+)>", identifier, address)
    path = path.replace("(?P<url>.*)$", "x/")
    path = re.sub(r"\(\?P<app_label>[^)]*\)", "chat", path)
    return "/" + path.replace("^", "").replace("/?$", "").replace("$", "")


def what_came(answer: Any) -> int | str:
    if answer.status_code == 302 and "/login/" in answer["Location"]:
        return LOGIN
    return int(answer.status_code)


def people_at(address: str) -> list[str]:
    """The users of this address: for a session with its shares; in the admin staff with permissions have tables of their own."""
    left_out = {"staff"} if address.startswith("admin/") else set()
    if address.startswith("admin/") or not re.search(r"_id>|^s/|^api/search|^(api/)?sessions/$", address):
        left_out |= {"watcher", "driver"}
    return [person for person in PEOPLE if person not in left_out]


def noun_of(address: str) -> str:
    """The part of the product that an address is about: the addresses of each share the owner's objects in one test.

    At addresses of sessions other users get copies, whose titles their lists show: each has a test of its own.
    """
    if "session_id" in address:
        return address
    return "/".join(address.split("/")[: 3 if address.startswith("admin/chat/") else 2])


@pytest.mark.parametrize("noun", sorted({noun_of(address) for address in ADDRESSES}))
async def test_everyone_gets_what_the_table_says(clients: dict[str, AsyncClient], noun: str) -> None:
    session, run = await database.write(owned)
    staff = User.objects.filter(username="staff").values("pk")
    for address, row in ((each, row) for each in ADDRESSES if noun_of(each) == noun for row in rows_of(each)):
        for person in people_at(address):
            await database.write(forget_looks)
            path = await database.read(filled_in, address, session, run) + row.query
            answer = await clients[person].generic(row.method, path, row.body, content_type="application/json")
            expected = row.expected(address, person)
            assert what_came(answer) == expected, f"{person}: {row.method} {path}"
            content = answer.content.decode() if not answer.streaming else ""
            if person != "anonymous" and expected in SHOWN:
                kept = answer.headers.get("Cache-Control", "")
                assert "private" in kept or "no-store" in kept, f"{path} may be kept by a cache that others share"
            if person == "staff" and expected in SHOWN and IN_A_SESSION.search(address):
                door = (
                    Door.STREAM
                    if address.endswith("/stream/")
                    else Door.API
                    if address.startswith("api/")
                    else Door.PAGE
                )
                entries = AuditEntry.objects.filter(actor_id__in=staff, session_id=session.pk, door=door)
                assert await entries.aexists(), f"{row.method} {path} shows it, and leaves no entry"
            if person in ("anonymous", "another", "bare") or (
                person != "owner" and expected not in (200, 201, 202, 204)
            ):
                assert SECRET not in content, f"{person}: {row.method} {path}"
            if address in ("sessions/", "api/sessions/", "api/search/", "") and person == "staff":
                assert SECRET not in content, "lists are one's own"
            if expected == 404:
                unknown = filled_in(address, None, None) + row.query
                other = await clients[person].generic(row.method, unknown, row.body, content_type="application/json")
                assert other.status_code == 404
                assert comparable(answer, path) == comparable(other, unknown), (
                    "what is not yours is as if it weren't there"
                )
            if address == "accounts/logout/" and person != "anonymous" and row.method == "POST":
                await clients[person].aforce_login(await User.objects.aget(username=person))
            if row.method != "GET" and expected in LET_IN:
                # Restore what was changed or deleted, for the next user.
                session, run = await database.write(owned)


def forget_looks() -> None:
    """Let the next view write an entry, although it would be one of the same ten minutes."""
    QuerySet(AuditEntry).delete()
    audit._noted.clear()


def comparable(answer: Any, path: str) -> tuple[Any, ...]:
    """An answer without what always differs: its own address, its identifier in the log, nonces and tokens."""
    content = answer.content.decode().replace(path, "")
    content = re.sub(r'"id":"[0-9a-f]{8}"|nonce="[^"]*"|csrfmiddlewaretoken" value="[^"]*"', "", content)
    return answer.status_code, answer["Content-Type"], content


# The socket


#: The answer to each command, for drivers (the owner too), watchers and staff: the type of the first frame that answers it, or an error's
#: code.
COMMANDS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "chat": ({"message": "hello"}, "accepted", "not_allowed", "not_allowed"),
    "continue": ({"run_id": "RUN"}, "not_continuable", "not_allowed", "not_allowed"),
    "steer": ({"message": "hello"}, "accepted", "not_allowed", "not_allowed"),
    "unsteer": ({"client_message_id": "hello"}, "nothing_to_cancel", "not_allowed", "not_allowed"),
    "resume": ({"last_seq": 0}, "session", "session", "session"),
    "ack": ({"seq": 1}, "pong", "pong", "pong"),
    "ping": ({}, "pong", "pong", "pong"),
    "approve": (
        {"run_id": "RUN", "tool_call_id": "c", "decision": "allow"},
        "not_waiting",
        "not_allowed",
        "not_allowed",
    ),
    "answer": ({"run_id": "RUN", "tool_call_id": "c", "answers": {}}, "not_waiting", "not_allowed", "not_allowed"),
    "activity": ({"seq": 1, "typing": True}, "pong", "pong", "pong"),
    "cancel": ({"all": True}, "reasoning_complete", "not_allowed", "reasoning_complete"),
}


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) == set(protocol.COMMANDS)


async def answer_to(socket: Socket, command: str, run_id: str) -> str:
    payload = COMMANDS[command][0]
    await socket.send(command, **{key: run_id if value == "RUN" else value for key, value in payload.items()})
    if command in ("ack", "activity"):
        # It has no answer; the next command shows that the socket is still open.
        await socket.send("ping")
    kinds = ("accepted", "error", "session", "pong", "reasoning_complete")
    frame = await socket.until(lambda frame: frame["type"] in kinds)
    return str(frame["data"]["code"] if frame["type"] == "error" else frame["type"])


@pytest.mark.parametrize("command", protocol.COMMANDS)
async def test_everyone_s_command_does_what_the_table_says(product: Server, bo: Browser, command: str) -> None:
    _, for_drivers, for_watchers, for_staff = COMMANDS[command]
    session_id = await bo.new_session(title=SECRET)
    nobody = Browser(product.url)
    async with (
        Browser.logged_in(product.url, "cy") as another,
        Browser.logged_in(product.url, "ada") as staff,
        bo.socket(session_id) as own,
    ):
        assert (await own.receive())["data"]["role"] == "owner"
        people = ((bo, None, for_drivers), (staff, None, for_staff))
        shared = ((another, "watcher", for_watchers), (another, "driver", for_drivers))
        for person, role, expected in (*people, *shared):
            status, accepted = await bo.call(
                "POST", f"sessions/{session_id}/messages/", {"message": "Count [tokens=400 every=25]"}
            )
            assert status == 202
            run_id = accepted["run_id"]
            strangers = ((nobody, protocol.Close.NOT_LOGGED_IN), (another, protocol.Close.NO_SUCH_SESSION))
            for outsider, code in strangers:
                async with outsider.socket(session_id) as closed:
                    with contextlib.suppress(websockets.ConnectionClosed):
                        await closed.send(command, **COMMANDS[command][0])
                    assert await closed.closed() == code
                    assert closed.frames == [], "nothing is told, and nothing is done"
            given = {"user": "cy", "role": role}
            shares = [(await bo.call("POST", f"sessions/{session_id}/shares/", given))[1]["id"]] if role else []
            async with person.socket(session_id) as socket:
                assert (await socket.receive())["data"]["role"] == role or role is None
                await socket.until_type("reasoning_delta")
                assert await answer_to(socket, command, run_id) == expected, role
            for share_id in shares:
                await bo.call("DELETE", f"shares/{share_id}/")
            await bo.call("POST", f"runs/{run_id}/cancel/", {"all": True})
            await own.until_type("reasoning_complete")
    await nobody.http.close()


async def test_a_stranger_s_socket_cannot_tell_whether_a_session_exists(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    async with Browser.logged_in(product.url, "cy") as another:
        ends = []
        for key in (session_id, str(uuid4()), "x", "1"):
            async with another.socket(key) as socket:
                ends.append((await socket.closed(), socket.frames))
    assert ends == [(protocol.Close.NO_SUCH_SESSION, [])] * 4
