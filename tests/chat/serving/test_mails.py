"""Mails, through a real mail server: to confirmed addresses only, at most once, retried, switched off."""

import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from allauth.account.models import EmailAddress
from django.test import Client, override_settings
from django.utils import timezone

from chat.accounts.models import User
from chat.models import Mail, MailKind, MailState, Origin, Run, RunStatus, Scope
from chat.runtime import background, database
from chat.security import tokens
from chat.serving import mail_texts
from chat.serving.mail_delivery import MailDeliverer
from chat.store import mails, notices
from config.mail_address import parse_mail
from tests.chat import making

TITLE = "Tea and\ncake"
QUESTION = "the okapi is at the quay"


class Post:
    """A mail server: keeps what it accepts; ``answer`` is its reply to a mail, with ``hangs_up`` it closes the connection instead."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.answer = "250 OK"
        self.hangs_up = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.got.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        if self.hangs_up:
            server.transport.abort()
        return self.answer


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Post, int]]:
    post = Post()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(post, hostname="127.0.0.1", port=port)  # type: ignore[no-untyped-call]
    controller.start()  # type: ignore[no-untyped-call]
    yield post, port
    controller.stop()  # type: ignore[no-untyped-call]


def mailing(port: int) -> Any:
    return override_settings(
        EMAIL_URL=parse_mail(f"smtp://127.0.0.1:{port}/?from=chat@example.org"),
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        EMAIL_HOST_USER="",
        EMAIL_USE_SSL=False,
        EMAIL_USE_TLS=False,
        DEFAULT_FROM_EMAIL="chat@example.org",
    )


@pytest.fixture
async def post(server: tuple[Post, int], transactional_db: None) -> AsyncIterator[Post]:
    made, port = server
    made.got, made.answer, made.hangs_up = [], "250 OK", False
    with mailing(port):
        yield made
    database.close()


def person(name: str = "ada", *, is_confirmed: bool = True, **fields: Any) -> User:
    user = making.user(name, email=f"{name}@example.org", **fields)
    EmailAddress.objects.create(user=user, email=f"{name}@example.org", verified=is_confirmed)
    return user


def run_of(owner: User, status: RunStatus = RunStatus.WAITING, **fields: Any) -> Run:
    run = making.run(making.session(owner, title=TITLE), message=QUESTION)
    Run.objects.filter(pk=run.pk).update(status=status, **fields)
    return Run.objects.get(pk=run.pk)


async def send() -> None:
    """Send what is due, and wait for the result."""
    await MailDeliverer().send_due()
    for task in [task for task in background.tasks if task.get_name() == "mail"]:
        await task


async def the_mail() -> Mail:
    return await database.read(Mail.objects.get)


async def record_waiting(**fields: Any) -> UUID:
    """A user's run waits."""

    def note() -> UUID:
        run = run_of(person(**fields))
        notices.record_waiting(run.pk)
        return run.pk

    return await database.write(note)


#: Languages, and how the subject begins in each.
LANGUAGES = {"": "Needs you: Tea and cake", "zh-hant": "需要你：Tea and cake", "zh-hans": "需要你：Tea and cake"}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_waiting_run_is_mailed_once_without_its_words(post: Post, language: str) -> None:
    run_id = await record_waiting(language=language)
    for _ in range(2):
        await send()
    (((to,), message),) = post.got
    text = message.get_content()
    assert to == "ada@example.org"
    assert message["subject"] == LANGUAGES[language]
    assert message.get_content_type() == "text/plain"
    assert f"#run-{run_id}" in text
    assert QUESTION not in message.as_string()
    assert message["message-id"] == f"<{(await the_mail()).pk}@example.org>"
    assert (await the_mail()).state == MailState.SENT
    assert message["List-Unsubscribe"].strip(" <>") in text


def decided(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING)


def change(**fields: Any) -> Callable[[Run], Any]:
    return lambda run: User.objects.update(**fields)


#: What happens between storing a mail and sending it, so that it is not sent.
DROPPED: dict[str, Callable[[Run], Any]] = {
    "it was decided": decided,
    "the session is gone": lambda run: run.session.delete(),
    "another address": change(email="other@example.org"),
    "no address": change(email=""),
    "confirmed no more": lambda run: EmailAddress.objects.update(verified=False),
    "switched off": change(mail_waiting=False),
    "deactivated": change(is_active=False),
    "refused by the provider": change(refused_at=timezone.now()),
}


@pytest.mark.parametrize("case", DROPPED)
async def test_an_outdated_mail_is_not_sent(post: Post, case: str) -> None:
    run_id = await record_waiting()
    await database.write(lambda: DROPPED[case](Run.objects.get(pk=run_id)))
    await send()
    assert post.got == []
    assert (await the_mail()).state == MailState.DROPPED


def by_person(owner: User) -> Run:
    return run_of(owner, RunStatus.FAILED)


#: A run that has ended, or waits, and how many mails are stored for it.
NOTED: dict[str, tuple[Callable[[User], Run], Callable[[UUID], None], int]] = {
    "a schedule's failed": (
        lambda owner: run_of(owner, RunStatus.FAILED, origin=Origin.SCHEDULE),
        *(notices.record_end, 1),
    ),
    "a schedule's went well": (
        lambda owner: run_of(owner, RunStatus.COMPLETED, origin=Origin.SCHEDULE),
        *(notices.record_end, 0),
    ),
    "a person's failed": (by_person, notices.record_end, 0),
    "it waits": (run_of, notices.record_waiting, 1),
    "a driver's run waits": (lambda owner: run_of(owner, user=person("bo")), notices.record_waiting, 2),
}


@pytest.mark.parametrize("case", NOTED)
async def test_mails_are_stored_for_the_right_users_and_events(post: Post, case: str) -> None:
    make, note, expected = NOTED[case]

    def act() -> None:
        note(make(person()).pk)

    await database.write(act)
    await send()
    assert len(post.got) == expected


async def test_no_mail_is_stored_without_a_mail_server(post: Post) -> None:
    with override_settings(EMAIL_URL=None):
        await record_waiting()
    assert not await database.read(Mail.objects.exists)


async def test_mails_per_hour_are_limited(post: Post) -> None:
    def note() -> None:
        run = run_of(person())
        for _ in range(25):
            notices.record_waiting(run.pk)

    await database.write(note)
    assert await database.read(Mail.objects.count) == 20


#: What the server does, and whether the mail is retried.
FAILURES: dict[str, tuple[Callable[[Post], Any], MailState]] = {
    "refuses it for now": (lambda post: setattr(post, "answer", "451 Later"), MailState.WAITING),
    "refuses it": (lambda post: setattr(post, "answer", "550 Never"), MailState.FAILED),
    # It is unknown whether the server has it.
    "hangs up after it": (lambda post: setattr(post, "hangs_up", True), MailState.FAILED),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_only_what_was_certainly_not_sent_is_tried_again(post: Post, case: str) -> None:
    do, state = FAILURES[case]
    do(post)
    await record_waiting()
    await send()
    await send()
    mail = await the_mail()
    assert (mail.state, mail.attempts, len(post.got)) == (state, 1, 1)
    assert mail.error
    assert (mail.next_at > timezone.now()) or state == MailState.FAILED


async def test_a_server_that_is_away_is_tried_a_few_times(post: Post) -> None:
    await record_waiting()
    with override_settings(EMAIL_PORT=1):
        for attempt in range(1, len(mails.RETRY_AFTER) + 2):
            await send()
            assert (await the_mail()).attempts == attempt
            await database.write(Mail.objects.filter(state="waiting").update, next_at=timezone.now())
    await send()
    assert ((await the_mail()).state, post.got) == (MailState.FAILED, [])


async def test_a_process_that_dies_while_it_sends_has_no_mail_sent_twice(post: Post) -> None:
    await record_waiting()
    (claimed,) = await database.write(mails.claim_due, 1)
    assert await database.write(mails.claim_due, 1) == [], "it belongs to whoever has claimed it"
    await database.write(Mail.objects.update, next_at=timezone.now() - timedelta(seconds=1))
    await send()
    assert (post.got, (await the_mail()).state) == ([], MailState.FAILED)
    # The process that had claimed it resumes: the final state stays.
    await database.write(mails.mark_sent, claimed.mail)
    assert (await the_mail()).state == MailState.FAILED


# Password reset


@pytest.fixture
def page(server: tuple[Post, int], client: Client, transactional_db: None) -> Iterator[Client]:
    with mailing(server[1]):
        yield client


def ask(client: Client, address: str) -> Any:
    return client.post("/accounts/password_reset/", {"email": address})


def test_a_password_is_set_anew_by_the_link_of_a_mail_once(page: Client) -> None:
    ada = person()
    tokens.make_token(ada, "script", Scope.READ, None)
    assert ask(page, "Ada@example.org")["Location"] == "/accounts/login/"
    (claimed,) = mails.claim_due(1)
    place = re.findall(r"/accounts/password_reset/\S+", mail_texts.words_of(claimed).body)[0]
    form = page.get(place, follow=True)
    assert "works no more" not in form.content.decode()
    new = {"new_password1": "battery staple 18", "new_password2": "battery staple 18"}
    assert page.post(form.redirect_chain[-1][0], new)["Location"] == "/accounts/login/"
    ada.refresh_from_db()
    assert ada.check_password("battery staple 18")
    assert tokens.tokens_of(ada.pk) == []
    assert "works no more" in page.get(place, follow=True).content.decode()
    assert Mail.objects.filter(kind=MailKind.PASSWORD_CHANGED).count() == 1


def provider_account() -> None:
    user = person()
    user.set_unusable_password()
    user.save()


#: Accounts, and entered addresses, for which no mail is stored.
NO_RESET: dict[str, tuple[Callable[[], Any], str]] = {
    "nobody's address": (person, "bo@example.org"),
    "an address that was not confirmed": (lambda: person(is_confirmed=False), "ada@example.org"),
    "deactivated": (lambda: person(is_active=False), "ada@example.org"),
    "refused": (lambda: person(refused_at=timezone.now()), "ada@example.org"),
    "by a provider": (provider_account, "ada@example.org"),
    "another address by now": (lambda: person() and User.objects.update(email="x@example.org"), "ada@example.org"),
}


@pytest.mark.parametrize("case", NO_RESET)
def test_an_answer_does_not_tell_who_is_known(page: Client, case: str) -> None:
    make, address = NO_RESET[case]
    make()
    answer = ask(page, address)
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/")
    assert not Mail.objects.exists()


@pytest.mark.parametrize("address", ["", "x", "a@b", "a\x00@example.org", "a@example.org\nBcc: b@example.org"])
def test_an_invalid_address_is_refused(page: Client, address: str) -> None:
    assert ask(page, address).status_code == 400


# Unsubscribing


def test_mails_are_switched_off_by_their_link_and_on_again_on_the_page(page: Client) -> None:
    ada = person()
    place = f"/accounts/mail/stop/{mail_texts.sign_stop(ada.pk, MailKind.RUN_WAITING)}/"
    assert page.get(place).status_code == 200
    ada.refresh_from_db()
    assert ada.mail_waiting, "a program that opens links switches nothing off"
    # As mail programs do it: without a login, and without a CSRF token.
    assert Client(enforce_csrf_checks=True).post(place, {"List-Unsubscribe": "One-Click"}).status_code == 200
    ada.refresh_from_db()
    assert (ada.mail_waiting, ada.mail_failures) == (False, True)
    page.force_login(ada)
    assert 'name="mail_waiting"' in page.get("/accounts/").content.decode()
    page.post("/accounts/", {"email": ada.email, "mail_waiting": "on"})
    ada.refresh_from_db()
    assert (ada.mail_waiting, ada.mail_failures) == (True, False)


@pytest.mark.parametrize(
    "signed",
    # With names, because a signature contains the time: the processes of one test run would have different test ids, and none would start.
    ["x", "a:b:c", pytest.param(mail_texts.sign_stop(1, "run.waiting")[:-1] + "_", id="signed otherwise")],
)
def test_an_invalid_unsubscribe_link_switches_nothing_off(page: Client, signed: str) -> None:
    person()
    assert page.post(f"/accounts/mail/stop/{signed}/").status_code == 404
    assert User.objects.get().mail_waiting
