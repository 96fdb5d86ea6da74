"""Reading the bodies of API requests, validated like a frame's payload; and the requesting user."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar, cast

from django.http import HttpRequest, RawPostDataException
from django.utils import timezone
from pydantic import BaseModel, Field, StrictFloat, StrictInt, StrictStr

from agents.json_types import JsonObject
from agents.sentence import Sentence
from chat import protocol
from chat.accounts.models import User
from chat.live.handshake import Login
from chat.protocol import BadFrame

T = TypeVar("T", bound=BaseModel)
#: When a share or token expires, as clients send it.
Expiry = Annotated[
    StrictInt | StrictFloat | StrictStr | None,
    Field(description="Unix seconds, or a date and time with its zone; null: never."),
]
_NO_JSON = BadFrame("bad_json", Sentence("The body must be JSON, with Content-Type: application/json."))


def user_of(request: HttpRequest) -> User:
    """The logged-in user."""
    return cast(User, request.auth)  # type: ignore[attr-defined] # set by ninja


def login_of(request: HttpRequest) -> Login:
    """The logged-in user, and the login or token."""
    return cast(Login, request.login)  # type: ignore[attr-defined] # set by `chat.api.auth`


def takes_body(kind: type[BaseModel]) -> JsonObject:
    """The OpenAPI description of a body that `read_body` reads."""
    schema = kind.model_json_schema()
    schema = _put_in(schema, schema.pop("$defs", {}))
    required = bool(schema.get("required"))
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def takes_header(name: str, description: str) -> JsonObject:
    """The OpenAPI description of a header that a call reads."""
    header = {"in": "header", "name": name, "required": False, "schema": {"type": "string"}, "description": description}
    return {"parameters": [header]}


#: The header that makes a call idempotent.
TAKES_KEY = takes_header(
    "Idempotency-Key", "1 to 64 visible ASCII characters: for 24 hours the same key gets the same again."
)


def _put_in(schema: Any, parts: JsonObject) -> Any:
    """A schema with its definitions inlined: references to them would not work within a larger document."""
    if isinstance(schema, list):
        return [_put_in(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if (name := schema.get("$ref", "").removeprefix("#/$defs/")) in parts:
        return _put_in(parts[name], parts)
    return {key: _put_in(value, parts) for key, value in schema.items()}


def read_body(request: HttpRequest, kind: type[T]) -> T:
    """The request's body, validated like a frame's payload; an empty body counts as an empty object. Raises `BadFrame`."""
    try:
        body = request.body
    except RawPostDataException:  # a form, which was parsed while looking for a CSRF token
        raise _NO_JSON from None
    if not body.strip():
        return protocol.validate_payload(kind, {})
    if request.content_type != "application/json":
        raise _NO_JSON
    try:
        payload = protocol.load_json(body.decode())
    except UnicodeDecodeError:
        raise BadFrame("bad_json", Sentence("The body is not UTF-8.")) from None
    if not isinstance(payload, dict):
        raise BadFrame("bad_frame", Sentence("The body must be a JSON object."))
    return protocol.validate_payload(kind, payload)


def read_expiry(at: float | str | None) -> datetime | None:
    """When a right is to expire, which must be in the future. Raises `BadFrame`."""
    if at is None:
        return None
    moment: datetime | None
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
        # Converted to UTC as it is stored: the last hours of the calendar do not exist in other zones.
        moment = moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError, OSError):
        moment = None
    if moment is None:
        message = Sentence("expires_at: neither Unix seconds nor a date and time like 2027-03-01T09:00Z.")
        raise BadFrame("bad_frame", message)
    if moment <= timezone.now():
        raise BadFrame("bad_frame", Sentence("expires_at: this moment has passed."))
    return moment
