"""Errors in the format of OpenAI's clients: ``{"error": {"message", "type", "param", "code"}}``."""

import secrets
from typing import TypedDict

from chat.openai.pieces import Ended
from chat.protocol import ErrorCode

#: Statuses that differ from those of the API under ``/api/`` for the same code.
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
#: The statuses by these clients' names of the codes.
STATUSES = {_NAMES.get(code, code): status for code, status in _STATUS.items()}
#: Limits that refuse a request before anything has begun: it may be repeated later.
_LIMITS = ("rate_limited", "queue_full")


class ErrorBody(TypedDict):
    """An error as OpenAI's clients parse it."""

    message: str
    type: str
    param: str | None
    code: str
    id: str
    """The id by which operators find the error in the log."""


class Failure(Exception):
    """A request that was refused, or a run without an answer. ``code`` is the protocol's; ``param`` is the wrong field."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, *, is_final: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = _NAMES.get(code, code)
        self.param = param
        self.id = secrets.token_hex(4)
        """The id by which operators find the error in the log."""
        self.session_id = ""
        """The session of the run, if there is one."""
        self.is_final = is_final
        """Whether repeating the request would fail again: clients retry by themselves, and each run costs."""

    @property
    def kind(self) -> str:
        """OpenAI's type of the error."""
        if self.status >= 500:
            return "server_error"
        return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error"
        )

    def body(self) -> ErrorBody:
        """The error as clients parse it."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, "id": self.id}


def bad_request(message: str, param: str | None = None, code: str = "bad_frame") -> Failure:
    """The failure for an invalid request."""
    return Failure(400, message, code, param)


def unsupported_parameter(param: str, message: str = "") -> Failure:
    """The failure for a request for something that this API does not support."""
    return bad_request(message or f"“{param}” is not supported here.", param, "unsupported_parameter")


def refused_command(code: ErrorCode, message: str, status: int) -> Failure:
    """The failure for a command that was refused; ``status`` is the API's."""
    param = "model" if code == "unknown_agent" else None
    return Failure(_STATUS.get(code, status), message, code, param, is_final=code not in _LIMITS)


def run_failure(ended: Ended) -> Failure:
    """The failure for a run without an answer."""
    code = ended.code or "internal"
    return Failure(_STATUS.get(code, 500), ended.error, code)


def run_waits(address: str) -> Failure:
    """The failure for a run that waits for a person, who decides or answers at ``address``; then the run continues."""
    return Failure(409, f"The run waits for a person's decision or answer, which is given at {address}", "conflict")
