"""External services: the OpenID Connect provider and the mail server."""

import smtplib
from collections.abc import Iterator
from typing import Any

import httpx2
from django.conf import settings
from django.core import mail

from chat.doctor.findings import Finding

_PATIENCE_S = 8.0


def check_login_provider() -> Iterator[Finding]:
    """Whether the OpenID Connect provider can be reached, and calls itself what `OIDC_ISSUER` says."""
    issuer = settings.OIDC_ISSUER
    if not issuer:
        yield Finding.ok("none is configured (OIDC_ISSUER): users log in with passwords")
        return
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        with httpx2.Client(timeout=_PATIENCE_S, follow_redirects=False) as client:
            answer = client.get(address)
        document: Any = answer.json() if answer.status_code == 200 else None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding.fail(
            f"{address} cannot be read: {reason}", "Check that OIDC_ISSUER is right, and can be reached from here."
        )
        return
    if not isinstance(document, dict):
        yield Finding.fail(
            f"{address} answers with {answer.status_code}", "Set OIDC_ISSUER to the issuer that the provider documents."
        )
    elif document.get("issuer") != issuer:
        yield Finding.fail(
            f"the provider's issuer is {document.get('issuer')}, not {issuer}",
            "Set OIDC_ISSUER to exactly that, with or without the slash at the end.",
        )
    else:
        yield Finding.ok(f"{issuer} answers with its configuration")


def check_mail() -> Iterator[Finding]:
    """Whether the mail server accepts our login; no mail is sent."""
    if not getattr(settings, "EMAIL_URL", ""):
        yield Finding.ok("none is configured (EMAIL_URL): no mail is sent")
        return
    try:
        with mail.get_connection():
            pass
    except smtplib.SMTPAuthenticationError as refused:
        yield Finding.fail(
            f"the server does not accept the login ({refused.smtp_code})", "Set name and password in EMAIL_URL."
        )
    except (OSError, smtplib.SMTPException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding.fail(f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} cannot be used: {reason}", "Check EMAIL_URL.")
    else:
        yield Finding.ok(f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} can be used")
