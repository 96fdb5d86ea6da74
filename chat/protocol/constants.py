"""The protocol's limits, error codes and close codes."""

from typing import Literal, get_args

#: How many stored frames a client may leave unacknowledged, and how many bytes of them.
WINDOW = 200
WINDOW_BYTES = 1024 * 1024
#: The largest frame from a client, in bytes.
FRAME_LIMIT = 1024 * 1024

End = Literal["completed", "cancelled", "failed", "max_iterations", "interrupted"]
ENDS: tuple[End, ...] = get_args(End)

ErrorCode = Literal[
    "bad_json",
    "bad_frame",
    "unknown_type",
    "too_large",
    "empty_message",
    "bad_text",
    "unknown_agent",
    "bad_last_seq",
    "not_found",
    "not_allowed",
    "not_continuable",
    "nothing_to_cancel",
    "conflict",
    "rate_limited",
    "queue_full",
    "unsupported_media",
    "too_many_files",
    "model_unreachable",
    "model_auth",
    "model_rate_limited",
    "model_timeout",
    "model_cut_off",
    "model_error",
    "tool_failed",
    "storage",
    "internal",
    "budget_exceeded",
    "not_waiting",
    "bad_seq",
    "bad_arguments",
    "not_decided",
]
ERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)


class Close:
    """Close codes. A socket is accepted before it is closed with one, so that browsers see the code."""

    NOT_LOGGED_IN = 4401
    WITHDRAWN = 4403
    NO_SUCH_SESSION = 4404
    TOO_SLOW = 4408
    SILENT = 4410
    TOO_LARGE = 4413
    TOO_MANY = 4429
    INTERNAL = 4500
    RESTARTING = 4012


CLOSES: dict[str, int] = {name: code for name, code in vars(Close).items() if name.isupper()}
