"""A session's frames as server-sent events: the same as on a socket, for clients of event streams."""

import re
from typing import NamedTuple

import orjson
from django.http import HttpRequest
from ninja import Router

from agents.sentence import Sentence
from chat.api.auth import READ
from chat.api.bodies import takes_header
from chat.api.event_stream import EventStreamResponse, EventWriter, format_event
from chat.api.following import open_session
from chat.models import Door
from chat.protocol import BadFrame, as_uuid

router = Router()

_PLACE = re.compile(r"(\d{1,18})(?:\.([0-9A-Fa-f-]{32,36}))?")
#: How every frame begins; those of the log go on with their number and identifier.
_HEAD = re.compile(r'\{"type":"(\w+)"(?:,"seq":(\d+),"id":"([0-9a-f-]{36})")?')
#: Above every number that a log has.
_NOWHERE = 10**18
_ANSWER = {
    "description": "Events, each named by its frame's type and, where that is stored, under `<seq>.<id>`",
    "content": {"text/event-stream": {}},
}


class Place(NamedTuple):
    """The last event that a client has."""

    seq: int = 0
    event_id: str | None = None


@router.get(
    "sessions/{session_id}/stream/",
    auth=READ,
    openapi_extra={"responses": {200: _ANSWER}, **takes_header("Last-Event-ID", "The last event that the client has.")},
)
async def stream_session(request: HttpRequest, session_id: str, after: str = "") -> EventStreamResponse:
    """Follow a session by server-sent events: the frames that a socket is sent, in the same order.

    `Last-Event-ID`, else `after`, is the last event that the client has: `<seq>.<id>` as the events call themselves, or the number
    alone. Where the log is not the client's, `session` says `reset` and all of it follows. The last event is `close`, whose `code` is
    that of a socket. Counts as a socket.
    """
    place = _last_place(request, after)
    follower = await open_session(request, as_uuid(session_id), Door.STREAM)

    async def produce(writer: EventWriter) -> None:
        code = await follower.follow(lambda frame: writer.write(encode_frame(frame)), *place)
        await writer.write_last(format_event("close", orjson.dumps({"code": code}).decode()))

    return EventStreamResponse(produce)


def _last_place(request: HttpRequest, after: str) -> Place:
    """The last event that the client has. A header is set by the browser: a value that was never given out means another log."""
    header = request.headers.get("Last-Event-ID", "")
    if header:
        return parsed_place(header) or Place(_NOWHERE)
    place = parsed_place(after) if after else Place()
    if place is None:
        raise BadFrame(
            "bad_last_seq", Sentence("after: the number of an event, or its identifier as the stream gave it.")
        )
    return place


def parsed_place(text: str) -> Place | None:
    """A place in the log, from an event's identifier in the stream, or from its number; None if it is neither."""
    found = _PLACE.fullmatch(text) if text.isascii() else None
    return Place(int(found[1]), found[2]) if found else None


class _Encoded(NamedTuple):
    frame: str
    chunk: bytes


_last = _Encoded("", b"")


def encode_frame(frame: str) -> bytes:
    """A frame as an event, made once for all readers: each of them is sent the same object, one after the other."""
    global _last
    if frame is not _last.frame:
        head = _HEAD.match(frame)
        kind, seq, event_id = head.groups() if head else ("message", None, None)
        _last = _Encoded(frame, format_event(kind, frame, f"{seq}.{event_id}" if seq else ""))
    return _last.chunk
