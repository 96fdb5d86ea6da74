"""Staff try a version of an agent before it is published. Nothing of it is stored."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils.translation import gettext as _

from agents import Agent, AgentError, ModelSettings, Toolbox
from agents.models.probing import sees_images
from agents.trial import QUESTION, Trial, try_agent
from chat.accounts.models import User
from chat.admin.patience import Busy, one_of_few
from chat.catalog import agents, mcp_servers, model_servers
from chat.catalog.model_facts import save_facts
from chat.models import AgentVersion
from chat.rendering import humanize
from chat.rendering.sentences import translate_sentence
from chat.store import search

#: Seconds after which a trial is stopped.
_PATIENCE_S = 60


class Finding(NamedTuple):
    """Something that the trial has found out: whether it holds, None if unknown, and a sentence about it."""

    what: str
    holds: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of a trial: the answer, or why there is none, and what was found out about the model."""

    answer: str
    problem: str
    findings: list[Finding]


def try_version(version: AgentVersion, question: str, by: User) -> Tried:
    """Ask the version a question; without one, a question that needs a tool."""
    tried = agents.Version(version.pk, agents.spec_of(version), version.model_server_id)
    try:
        model = model_servers.settings_for(tried)
    except AgentError as error:
        return Tried("", translate_sentence(error.message), [])
    box = Toolbox(
        search_history=search.bound_to(by),
        mcp_servers=mcp_servers.configured_for(tried.spec.mcp),
        hosts=settings.FETCH_HOSTS,
    )
    agent = Agent(tried.spec, model, box)
    try:
        with one_of_few():
            trial, sees = async_to_sync(_try)(agent, question.strip() or QUESTION)
    except Busy as busy:
        return Tried("", translate_sentence(busy.message), [])
    except TimeoutError:
        return Tried("", _("It took longer than %(n)d seconds.") % {"n": _PATIENCE_S}, [])
    if model.server and trial.outcome.status != "failed":
        save_facts(model)
    problem = translate_sentence(trial.outcome.error) if trial.outcome.status == "failed" else ""
    return Tried(trial.answer, problem, list(_findings(trial, model, sees)))


async def _try(agent: Agent, question: str) -> tuple[Trial, bool | None]:
    async with asyncio.timeout(_PATIENCE_S):
        trial = await try_agent(agent, question)
        may_see = agent.model.server and trial.outcome.status != "failed"
        return trial, await sees_images(agent.model) if may_see else None


def _findings(trial: Trial, model: ModelSettings, sees: bool | None) -> Iterator[Finding]:
    yield Finding(_("answers"), bool(trial.answer), humanize.approx_duration(round(trial.took_s * 1000)))
    yield Finding(_("streams"), trial.pieces > 1, humanize.approx_duration(round(trial.first_s * 1000)))
    yield Finding(_("calls tools"), bool(trial.tools) or None, ", ".join(trial.tools))
    failed = [name for name, ok in trial.tools.items() if not ok]
    if failed:
        yield Finding(_("its calls succeed"), False, ", ".join(failed))
    usage = trial.outcome.usage
    counted = humanize.usage(usage.input_tokens, usage.output_tokens, estimated=usage.estimated)
    yield Finding(_("reports usage"), not usage.estimated, counted)
    yield Finding(_("sees pictures"), sees, "" if model.server else _("It is the built-in demo model."))
