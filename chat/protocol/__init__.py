"""The protocol: commands that clients send, frames that they are sent, and the messages between processes. Does no I/O.

`frames` and `commands` are the contract; `static/chat/protocol.js` and the document under `/api/docs` are made from them by `schema`.
"""

from chat.protocol.commands import (
    COMMANDS,
    Ack,
    BadFrame,
    Cancel,
    Chat,
    ClientMessageId,
    Command,
    Continue,
    Ping,
    Resume,
    Steer,
    Unsteer,
    as_uuid,
    load,
    parse,
    validated,
)
from chat.protocol.constants import (
    CLOSES,
    ENDS,
    ERROR_CODES,
    FRAME_LIMIT,
    WINDOW,
    WINDOW_BYTES,
    Close,
    End,
    ErrorCode,
)
from chat.protocol.frames import STEP_TYPES, STORED, UNSTORED, ErrorData, encode, error_data, stored_frame
from chat.protocol.texts import body, is_blank

__all__ = [
    "CLOSES",
    "COMMANDS",
    "ENDS",
    "ERROR_CODES",
    "FRAME_LIMIT",
    "STEP_TYPES",
    "STORED",
    "UNSTORED",
    "WINDOW",
    "WINDOW_BYTES",
    "Ack",
    "BadFrame",
    "Cancel",
    "Chat",
    "ClientMessageId",
    "Close",
    "Command",
    "Continue",
    "End",
    "ErrorCode",
    "ErrorData",
    "Ping",
    "Resume",
    "Steer",
    "Unsteer",
    "as_uuid",
    "body",
    "encode",
    "error_data",
    "is_blank",
    "load",
    "parse",
    "stored_frame",
    "validated",
]
