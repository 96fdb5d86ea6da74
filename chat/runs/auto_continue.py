"""Continues interrupted runs automatically, if that is configured and cannot do anything outside twice."""

from django.conf import settings

import agents
from chat.models import Origin, Run, RunStatus, Step
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store import selectors, waiting_calls

_AUTOMATIC = "auto:"
_AUTOMATIC_LIMIT = 3


def continuation_of(run: Run) -> Run | None:
    """The run by which the server continues this one automatically; None if it does not."""
    return run.continuations.filter(client_message_id__startswith=_AUTOMATIC).first()


def enqueue_continuation(run: Run, end: End) -> None:
    """Queue the continuation of an interrupted run. Called in the transaction that ends the run and has locked its session."""
    if not settings.AUTO_CONTINUE or end.status is not RunStatus.INTERRUPTED:
        return
    session = run.session
    if run.origin == Origin.SET:
        # The run of the set asks the case again.
        return
    if run.user is None or session.runs.filter(number__gt=run.number).exists():
        return
    # A decided call is made once, and people are asked again.
    if waiting_calls.has_waited(run.pk) or _may_have_changed_something(run):
        return
    times, earlier = 0, run
    while earlier.client_message_id.startswith(_AUTOMATIC) and earlier.continues is not None:
        times, earlier = times + 1, earlier.continues
    if times < _AUTOMATIC_LIMIT:
        again = Run(
            session=session,
            number=run.number + 1,
            user=run.user,
            message=run.message,
            agent_name=run.agent_name,
            enable_reasoning=run.enable_reasoning,
            client_message_id=f"{_AUTOMATIC}{run.pk.hex}",
            origin=Origin.CONTINUE,
            continues=run,
        )
        run_state.enqueue(again, title=session.title, is_first=True)


def _may_have_changed_something(run: Run) -> bool:
    """Whether repeating the run might change something outside twice. For an extension's own agent that is not known."""
    within = selectors.runs_within(run)
    if any(each.agent_version is not None and each.agent_version.agent_class for each in (run, *within)):
        return True
    calls = Step.objects.filter(run__in=[run, *within], type="tool_use")
    # The runs within it were started by calls that do nothing else.
    return calls.exclude(tool_name__in=agents.without_side_effects()).count() > len(within)
