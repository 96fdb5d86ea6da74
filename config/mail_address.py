"""The mail server's address: ``smtps://user:password@host/?from=…``."""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.addresses import AddressRefused

_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class MailServer:
    """The mail server, as in Django's settings."""

    host: str
    port: int
    user: str
    password: str
    #: Whether TLS is used from the beginning; or STARTTLS, which is required of every server but one on this machine.
    use_ssl: bool
    use_starttls: bool
    sender: str


def parse_mail(raw: str) -> MailServer:
    """Parse an address. Raises `AddressRefused`."""
    must = "must be an address like smtps://user:password@mail.example.org/?from=chat@example.org"
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError:
        raise AddressRefused(must) from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.fragment:
        raise AddressRefused(must)
    query = parse_qs(parts.query)
    sender = query.pop("from", [""])[0]
    try:
        validate_email(sender)
    except ValidationError:
        raise AddressRefused(f"{must}, where from is the sender's address") from None
    if query:
        raise AddressRefused(f"must not have {', '.join(sorted(query))} in it")
    return MailServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_ssl=parts.scheme == "smtps",
        use_starttls=parts.scheme == "smtp" and parts.hostname not in _LOOPBACK,
        sender=sender,
    )
