"""Errors in the shape that OpenAI's clients read: ``{"error": {"message", "type", "param", "code"}}``."""

import secrets
from typing import TypedDict

from chat.openai.pieces import Ended
from chat.protocol import ErrorCode

#: Statuses that are not those of the API for the same code.
_STATUS: dict[str, int] = {
    "unknown_agent": 404,
    "unsupported_parameter": 400,
    "cancelled": 409,
    "interrupted": 503,
    "model_unreachable": 502,
    "model_auth": 502,
    "model_rate_limited": 502,
    "model_timeout": 504,
    "model_cut_off": 502,
    "model_error": 502,
    "tool_failed": 500,
    "storage": 503,
    "internal": 500,
}
#: Codes that these clients know by another name.
_NAMES = {"unknown_agent": "model_not_found"}
#: The same, as clients read the codes.
STATUSES = {_NAMES.get(code, code): status for code, status in _STATUS.items()}
#: Limits of which nothing has begun: the same again may be taken later.
_LIMITS = ("rate_limited", "queue_full")


class ErrorBody(TypedDict):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str
    id: str
    """By which operators find it in the log."""


class Failure(Exception):
    """A request that is refused, or a run that has no answer. ``code`` is the wire's, ``param`` the field that is at fault."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, *, is_final: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = _NAMES.get(code, code)
        self.param = param
        self.id = secrets.token_hex(4)
        """By which operators find it in the log."""
        self.session_id = ""
        """The session of the run that it is about, if it is about one."""
        self.is_final = is_final
        """Whether the same again would come to the same: clients try again by themselves, and a run costs."""

    @property
    def kind(self) -> str:
        """OpenAI's word for the kind of error."""
        if self.status >= 500:
            return "server_error"
        return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error"
        )

    def body(self) -> ErrorBody:
        """The error as clients read it."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, "id": self.id}


def bad_request(message: str, param: str | None = None, code: str = "bad_frame") -> Failure:
    """A request that is not as it has to be."""
    return Failure(400, message, code, param)


def unsupported_parameter(param: str, message: str = "") -> Failure:
    """A request for something that this API does not do."""
    return bad_request(message or f"“{param}” is not supported here.", param, "unsupported_parameter")


def refused_command(code: ErrorCode, message: str, status: int) -> Failure:
    """A command that was refused; ``status`` is the API's."""
    param = "model" if code == "unknown_agent" else None
    return Failure(_STATUS.get(code, status), message, code, param, is_final=code not in _LIMITS)


def run_failure(ended: Ended) -> Failure:
    """Why a run has no answer."""
    code = ended.code or "internal"
    return Failure(_STATUS.get(code, 500), ended.error, code)


def run_waits(address: str) -> Failure:
    """A run waits for a person, who decides or answers at this address; then it continues."""
    return Failure(409, f"The run waits for a person's decision or answer, which is given at {address}", "conflict")
