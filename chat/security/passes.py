"""Authentication without a login: the operator's token, which opens `/metrics`, and the pass of `manage.py doctor`."""

from typing import TypedDict

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.utils.crypto import constant_time_compare

#: The header of the doctor's pass, and how long one is valid, in seconds.
DOCTOR_HEADER = "X-Doctor"
_HOLDS_S = 60


class ReceivedRequest(TypedDict):
    """How a request of the doctor has arrived here: the answer of `/healthz/echo`."""

    scheme: str
    host: str
    host_is_known: bool
    """Whether it is in `ALLOWED_HOSTS`."""
    client: str
    """The client's address, as the product sees it."""
    forwarded_for: str
    forwarded_proto: str
    ignored_peer: str
    """The sender of ``X-Forwarded-…`` headers that were ignored; empty if there were none."""


def is_metrics_token(authorization: str) -> bool:
    """Whether an ``Authorization`` header has `METRICS_TOKEN`, if one is set."""
    scheme, _, token = authorization.partition(" ")
    # Compared as bytes: a header may contain characters beyond ASCII.
    is_ours = constant_time_compare(token.strip().encode("utf-8", "replace"), settings.METRICS_TOKEN.encode())
    return bool(settings.METRICS_TOKEN) and scheme.lower() == "bearer" and is_ours


def doctor_pass() -> str:
    """A pass that proves, for a minute, that its sender knows this installation's SECRET_KEY."""
    return TimestampSigner(salt="doctor").sign("echo")


def is_doctor(shown: str) -> bool:
    """Whether ``shown`` is such a pass, and not expired."""
    try:
        TimestampSigner(salt="doctor").unsign(shown, max_age=_HOLDS_S)
    except BadSignature:
        return False
    return True
