"""What people have seen is in the database."""

import asyncio

from tests.faults import invariants, work
from tests.faults.oracle import Frame, Oracle
from tests.faults.world import World


class Sceptic(Oracle):
    """A client that looks up every event in the database as soon as it arrives."""

    def __init__(self, *args: object, look_up: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._look_up = look_up
        self.missing: list[int] = []

    async def _handle(self, frame: Frame) -> None:
        if "seq" in frame and not await asyncio.to_thread(self._look_up, frame):  # type: ignore[arg-type]
            self.missing.append(frame["seq"])
        await super()._handle(frame)


async def test_every_shown_event_is_stored_already(on_each_topology: World) -> None:
    """Every event is in the database by the time that it is shown, so that a power failure just afterwards loses none."""
    opened = on_each_topology
    opened.model.respond = work.rounds(5)
    session = await opened.new_session()

    def look_up(frame: Frame) -> bool:
        return any(event.id == frame["id"] for event in opened.database.events(session))

    usual = opened.client(session)
    async with Sceptic(usual._addresses, usual._cookie, session, look_up=look_up) as client:
        run_id = await client.ask("Go on")
        assert await client.ended(run_id) == "completed"
        assert client.missing == [], "shown before it was stored"
        events = await invariants.check(opened, session, [client])
    assert len(events) > 30
