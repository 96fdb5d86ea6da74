"""Sessions and runs as files, and what would be masked in them; and sessions imported from other programs' trajectories."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, TypeVar, cast

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone, translation
from ninja import Query, Router, Status
from pydantic import Field

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject
from agents.sentence import Sentence
from chat.api.auth import MANAGE, READ
from chat.api.bodies import user_of
from chat.api.paths import visible_run, visible_session
from chat.api.sessions import SessionOut, session_out
from chat.exports.files import FORMATS, Format, content_disposition, file_name, next_piece, scan_source
from chat.exports.importing import MOST_BYTES, check_import_limit, plan_import, store_import
from chat.exports.masking import Masker
from chat.exports.source import Source
from chat.models import Act, Door, Run, Session
from chat.protocol import BadFrame
from chat.runtime import database
from chat.security import audit
from chat.store import branches

router = Router()
T = TypeVar("T")

_FILE: JsonObject = {
    "responses": {
        200: {
            "description": "The file",
            "content": {
                kind: {"schema": {"type": "object" if kind == "application/json" else "string"}}
                for kind in (each.media_type.partition(";")[0] for each in FORMATS.values())
            },
        }
    }
}
_Name = Annotated[str, Query(alias="format", description=f"One of {', '.join(FORMATS)}.")]
_Mask = Annotated[bool, Query(description="Whether what looks like a secret is hidden.")]


class PlaceOut(TypedDict):
    """A masked place."""

    seq: Annotated[
        int | None, Field(description="The event's number; null for the title, and for events that are not numbered.")
    ]
    what: Annotated[str, Field(description="The kind of step.")]
    tool: str
    kind: Annotated[str, Field(description="What the text looks like: key, token, password, private key.")]
    excerpt: Annotated[str, Field(description="The text around it, masked.")]


class PreviewOut(TypedDict):
    """What is masked in a file: the total number, and the first hundred places."""

    count: int
    kinds: dict[str, int]
    places: list[PlaceOut]


@router.get("sessions/{session_id}/export/", auth=READ, openapi_extra=_FILE)
async def export_session(
    request: HttpRequest, session_id: str, format_name: _Name = "json", mask: _Mask = True
) -> StreamingHttpResponse:
    """Save a session as a file: for reading (`markdown`, `html`), as its events were sent (`json`), or for other programs (`atif`)."""
    session = await visible_session(request, session_id)
    return await _file(request, session, None, format_name, mask=mask)


_DOCUMENT = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post("sessions/import/", auth=MANAGE, response={201: SessionOut}, openapi_extra=_DOCUMENT)
async def import_session(request: HttpRequest) -> Status[SessionOut]:
    """Create a session from an ATIF document, the body, of at most 20 MiB. It can be read like any other, but not asked anything."""
    if request.content_type != "application/json":
        raise BadFrame("bad_json", Sentence("The body must be JSON, with Content-Type: application/json."))
    # Not `request.body`, which has the size limit of other requests.
    body = request.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise BadFrame("too_large", Sentence("The document is too large: it may have 20 MiB."))
    async with _one_at_a_time:
        await database.read(check_import_limit, user_of(request))
        planned = await asyncio.to_thread(plan_import, body)
        session = await database.write(store_import, user_of(request), planned)
    return Status(201, session_out(session))


@router.get("runs/{run_id}/export/", auth=READ, openapi_extra=_FILE)
async def export_run(
    request: HttpRequest, run_id: str, format_name: _Name = "json", mask: _Mask = True
) -> StreamingHttpResponse:
    """Save a run and the runs within it as a file."""
    run = await _run(request, run_id)
    return await _file(request, run.session, run, format_name, mask=mask)


@router.get("sessions/{session_id}/export/preview/", auth=READ, response=PreviewOut)
async def preview_session(request: HttpRequest, session_id: str) -> PreviewOut:
    """Show what is masked in a file of the session."""
    return await _preview(Source(await visible_session(request, session_id)))


@router.get("runs/{run_id}/export/preview/", auth=READ, response=PreviewOut)
async def preview_run(request: HttpRequest, run_id: str) -> PreviewOut:
    """Show what is masked in a file of the run."""
    run = await _run(request, run_id)
    return await _preview(Source(run.session, run))


async def _run(request: HttpRequest, run_id: str) -> Run:
    found = await visible_run(request, run_id)
    rows = Run.objects.select_related("session", "agent_version", "user")
    return cast(Run, await database.read(rows.filter(pk=found.pk).first))


async def _file(
    request: HttpRequest, session: Session, run: Run | None, name: str, *, mask: bool
) -> StreamingHttpResponse:
    chosen = FORMATS.get(name)
    if chosen is None:
        raise BadFrame("bad_frame", f"format: one of {', '.join(FORMATS)}.")
    await database.write(
        audit.record_action,
        user_of(request).pk,
        Act.EXPORT,
        Door.API,
        session_id=session.pk,
        run_id=run.pk if run is not None else None,
        format=name,
        mask=mask,
    )
    source = Source(session, run, Masker(is_on=mask), sees_original=await _sees_original(request, session))
    headers = {
        "Content-Disposition": content_disposition(file_name(source, chosen)),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    pieces = await _pieces(source, chosen)
    return StreamingHttpResponse(pieces, content_type=chosen.media_type, headers=headers)


async def _sees_original(request: HttpRequest, session: Session) -> bool:
    """Whether the reader may see the session that this one was copied from."""
    if session.copied_from is None:
        return False
    return await database.read(branches.seen_by(user_of(request)).filter(pk=session.copied_from).exists)


#: How many pieces are made at the same time, over all requests: other requests need the database's threads, too.
_at_once = asyncio.Semaphore(2)
_one_at_a_time = asyncio.Semaphore(1)


def _as_reader() -> Callable[[Callable[[], T]], T]:
    """Return a function that calls another one, on any thread, in the language and the time zone of this request."""
    language, zone = translation.get_language(), timezone.get_current_timezone()

    def call(function: Callable[[], T]) -> T:
        with translation.override(language), timezone.override(zone):
            return function()

    return call


async def _pieces(source: Source, chosen: Format) -> AsyncIterator[bytes]:
    """The file's pieces. The first is made before the response begins, so that an error can still be reported."""
    texts, call = chosen.write(source), _as_reader()

    async def piece() -> bytes:
        async with _at_once:
            return await database.read(call, partial(next_piece, texts))

    first = await piece()

    async def pieces() -> AsyncIterator[bytes]:
        following = first
        while following:
            yield following
            following = await piece()

    return pieces()


async def _preview(source: Source) -> PreviewOut:
    async with _at_once:
        await database.read(scan_source, source)
    masker = source.masker
    places: list[PlaceOut] = [
        {"seq": each.seq, "what": each.what, "tool": each.tool, "kind": each.kind, "excerpt": each.excerpt}
        for each in masker.places
    ]
    return {"count": masker.counts.total(), "kinds": dict(masker.counts), "places": places}
