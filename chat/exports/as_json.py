"""JSON: the events as they were sent, all of them."""

from collections.abc import Iterator

import orjson

from chat.exports.source import Source


def write_json(source: Source) -> Iterator[str]:
    """``{"session", "run_id", "masked", "exported_at", "events": [frame, …]}``; ``full_content`` is the whole of a result that is cut."""
    session = source.session
    head = {
        "session": {
            "id": str(session.pk),
            "title": source.title,
            "agent_name": session.agent_name,
            "created_at": session.created_at.timestamp(),
            "last_seq": session.last_seq,
            "imported": session.imported_at is not None,
        },
        "run_id": str(source.run.pk) if source.run else None,
        "masked": source.masker.is_on,
        "exported_at": source.made_at.timestamp(),
    }
    yield orjson.dumps(head).decode()[:-1] + ',"events":['
    comma = "\n"
    for event in source.events():
        whole = "" if event.content is None else f',"full_content":{orjson.dumps(event.content).decode()}'
        seq = "null" if event.seq is None else event.seq
        yield f'{comma}{{"type":"{event.event}","seq":{seq},"id":"{event.id}","run_id":"{event.run_id}","data":{event.body}{whole}}}'
        comma = ",\n"
    yield "\n]}\n"
