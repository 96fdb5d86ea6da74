"""Very long sessions, written by the product's own code inside ``manage.py shell``."""

from chat.accounts.models import User
from chat.models import RunStatus
from chat.runs import events as run_events
from chat.runs.state import End
from chat.store.step_log import Entry
from tests.chat import making


def write(username: str, *, message: str, thoughts: int, result_length: int = 0) -> str:
    """Make one run with this many thoughts, and a call whose result has this length; returns the session's id."""
    session = making.session(User.objects.get(username=username), title=message)
    run = making.run(session, message=message)
    run.refresh_from_db()
    making.append(run, run_events.started(run))
    making.append(run, *(making.thought(f"Thought {n} of many.", n) for n in range(1, thoughts + 1)))
    if result_length:
        lines = "".join(f"line {n}\n" for n in range(result_length // 6))[:result_length]
        call = {"tool_name": "python", "tool_call_id": "call_1", "iteration": 1, "timestamp": 1.5}
        asked = call | {"type": "tool_use", "step": thoughts + 1, "content": "", "arguments": {"code": "print('…')"}}
        returned = call | {"type": "tool_result", "step": thoughts + 2, "ok": True, "duration_ms": 9}
        returned |= {"content": lines[:2000], "truncated": True, "content_length": len(lines)}
        making.append(run, Entry("reasoning_step", asked), Entry("reasoning_step", returned, full_content=lines))
    making.append(run, run_events.completed(run, End(RunStatus.COMPLETED)))
    making.end(run)
    return str(session.pk)
