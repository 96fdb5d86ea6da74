"""What proves who asks where nobody logs in: the operator's own token, which opens `/metrics`, and what `manage.py doctor` shows."""

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.utils.crypto import constant_time_compare

#: Where the doctor shows its pass, and for how long one holds.
DOCTOR_HEADER = "X-Doctor"
_HOLDS_S = 60


def is_metrics_token(authorization: str) -> bool:
    """Whether an ``Authorization`` header holds `METRICS_TOKEN`, where one is set."""
    scheme, _, token = authorization.partition(" ")
    # Compared as bytes: a header may hold letters that are no ASCII.
    is_ours = constant_time_compare(token.strip().encode("utf-8", "replace"), settings.METRICS_TOKEN.encode())
    return bool(settings.METRICS_TOKEN) and scheme.lower() == "bearer" and is_ours


def doctor_pass() -> str:
    """What proves, for a minute, that somebody asks who knows this installation's SECRET_KEY."""
    return TimestampSigner(salt="doctor").sign("echo")


def is_doctor(shown: str) -> bool:
    """Whether that is such a pass."""
    try:
        TimestampSigner(salt="doctor").unsign(shown, max_age=_HOLDS_S)
    except BadSignature:
        return False
    return True
