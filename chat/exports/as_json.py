"""JSON: all events as they were sent."""

from collections.abc import Iterator

import orjson

from chat.exports.source import Source


def write_json(source: Source) -> Iterator[str]:
    """``{"session", "run_id", "masked", "exported_at", "events": [frame, …]}``; a frame's ``full_content`` is the whole of a cut result.

    The ``session`` of a branch or copy has ``branched_from`` (``{"session_id", "after_seq"}``); its copied frames have ``copied_from``.
    """
    session = source.session
    about = {
        "session": {
            "id": str(session.pk),
            "title": source.title,
            "agent_name": session.agent_name,
            "created_at": session.created_at.timestamp(),
            "last_seq": session.last_seq,
            "imported": session.imported_at is not None,
            **source.branched_from,
        },
        "run_id": str(source.run.pk) if source.run else None,
        "masked": source.masker.is_on,
        "exported_at": source.made_at.timestamp(),
    }
    yield orjson.dumps(about).decode()[:-1] + ',"events":['
    comma = "\n"
    for event in source.events():
        whole = "" if event.content is None else f',"full_content":{orjson.dumps(event.content).decode()}'
        seq = "null" if event.seq is None else event.seq
        copied = "" if event.copied_from is None else f'"copied_from":"{event.copied_from}",'
        head = f'"type":"{event.event}","seq":{seq},"id":"{event.id}",{copied}"run_id":"{event.run_id}"'
        yield f'{comma}{{{head},"data":{event.body}{whole}}}'
        comma = ",\n"
    yield "\n]}\n"
