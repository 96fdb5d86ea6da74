"""Sends mails one after the other, in a thread of its own."""

import asyncio
import logging
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from chat.accounts.addresses import confirmed_address
from chat.runtime import background, database
from chat.serving import mail_texts
from chat.store import mails
from chat.store.mails import ClaimedMail

logger = logging.getLogger(__name__)
#: How many mails are claimed at a time.
_AT_ONCE = 10
_SWEEP_EVERY_S = 3_600.0


class Refused(Exception):
    """The mail was certainly not sent; ``is_final``: nor would it be the next time."""

    def __init__(self, error: Exception, *, is_final: bool) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.is_final = is_final


class MailDeliverer:
    """The mails that this process is sending. For use on one event loop."""

    def __init__(self) -> None:
        self._is_busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mail")
        self._swept_at: float | None = None

    async def send_due(self) -> None:
        """Claim due mails and start sending them; returns before they are sent."""
        if not settings.EMAIL_URL or self._is_busy:
            return
        if self._swept_at is None or time.monotonic() - self._swept_at > _SWEEP_EVERY_S:
            self._swept_at = time.monotonic()
            await database.write(mails.sweep_mails)
        if await database.read(mails.is_any_due):
            self._is_busy = True
            background.spawn(self._send_some(), "mail")

    async def _send_some(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                claimed = await database.write(mails.claim_due, 1)
                if not claimed:
                    break
                await self._send(claimed[0])
        finally:
            self._is_busy = False

    async def _send(self, claimed: ClaimedMail) -> None:
        address = await database.read(confirmed_address, claimed.user)
        if address is None or not mails.is_still_wanted(claimed):
            await database.write(mails.drop, claimed.mail)
            return
        message = message_of(claimed, address)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, send_message, message)
        except Refused as refused:
            logger.warning("A mail was not sent: %s", refused)
            await database.write(mails.mark_failed, claimed.mail, str(refused), is_final=refused.is_final)
        except (smtplib.SMTPException, OSError) as lost:
            # The server may have accepted it before the connection ended.
            logger.warning("A mail may not have been sent: %s", lost)
            await database.write(mails.mark_failed, claimed.mail, f"{type(lost).__name__}: {lost}", is_final=True)
        else:
            await database.write(mails.mark_sent, claimed.mail)


def message_of(claimed: ClaimedMail, address: str) -> EmailMessage:
    """A mail, always with the same Message-ID."""
    text = mail_texts.words_of(claimed)
    headers = {
        "Message-ID": f"<{claimed.mail.pk}@{settings.DEFAULT_FROM_EMAIL.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",
    }
    if text.stop_address:
        headers |= {
            "List-Unsubscribe": f"<{text.stop_address}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return EmailMessage(text.subject, text.body, None, [address], headers=headers)


def send_message(message: EmailMessage) -> None:
    """Send a mail. Raises `Refused` if it certainly was not sent, and smtplib's exception if that is not known."""
    connection = get_connection()
    try:
        try:
            connection.open()
        except (smtplib.SMTPException, OSError) as error:
            raise Refused(error, is_final=False) from error
        try:
            connection.send_messages([message])
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise Refused(error, is_final=all(code >= 500 for code in codes)) from error
        except smtplib.SMTPResponseException as error:
            raise Refused(error, is_final=error.smtp_code >= 500) from error
    finally:
        connection.close()
