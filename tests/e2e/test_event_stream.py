"""A browser's own `EventSource` on a session."""

import asyncio

from tests.e2e.conversation import Conversation

#: Follows a session until the stream says that it ends; the events are stored where the test reads them.
FOLLOW = """(session) => new Promise((done) => {
  const told = [];
  const source = new EventSource(`/api/sessions/${session}/stream/`);
  const note = ({ type, lastEventId, data }) => told.push([type, lastEventId, JSON.parse(data)]);
  for (const kind of ["session", "reasoning_start", "reasoning_step", "reasoning_delta", "reasoning_complete"])
    source.addEventListener(kind, note);
  source.addEventListener("reasoning_complete", () => { source.close(); done(told); });
})"""


async def test_a_browser_follows_a_session_by_itself(talk: Conversation) -> None:
    session = talk.page.url.rstrip("/").rpartition("/")[2]
    following = asyncio.ensure_future(talk.page.evaluate(FOLLOW, session))
    await talk.ask("Tell [reasoning=10 tokens=60 every=20]")
    events = await following
    assert events[0][:2] == ["session", ""]
    stored = [(last, frame) for _, last, frame in events if "seq" in frame]
    assert [frame["seq"] for _, frame in stored] == list(range(1, len(stored) + 1))
    assert [last for last, _ in stored] == [f"{frame['seq']}.{frame['id']}" for _, frame in stored]
    assert "reasoning_delta" in {kind for kind, _, _ in events}
