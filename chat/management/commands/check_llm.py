"""``manage.py check_llm``: does the configured model answer, stream, report usage and call tools, how fast, and what it refuses."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

import agents
from agents import CallBegun, CallEnded, ModelSettings, Outcome, PartialStep
from agents.models.probing import ServerTraits, probe_server
from chat.catalog.model_facts import save_facts

_QUESTION = "What is 1234 * 5678? Work it out with the python tool, then answer in one sentence."
_ANSWER = 1234 * 5678
_MOST_CALLS = 4


@dataclass(slots=True)
class _Seen:
    """What one run showed of the model."""

    outcome: Outcome
    began: float
    first_at: float | None = None
    ended: float = 0.0
    pieces: int = 0
    tools_s: float = 0.0
    tools: dict[str, bool] = field(default_factory=dict)
    answer: str = ""


class Command(BaseCommand):
    """Ask the model something that needs a tool, and tell what happened."""

    help = "Say whether the configured model answers, streams, reports usage and calls tools, how fast, and what it refuses."

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and tell; the exit code is 1 where the model cannot carry an agent."""
        model: ModelSettings = settings.AGENT_MODEL
        if model.server:
            self.stdout.write(f"Asking {model.model or 'the model'} at {agents.mask_text(model.server)} …")
        else:
            self.stdout.write("Asking the built-in demo model: LLM_MODEL_SERVER is not set. It is no language model.")
        self.stdout.flush()
        agents.preload()
        seen = asyncio.run(_ask(model))
        if seen.outcome.status == "failed":
            raise CommandError(f"It does not answer ({seen.outcome.code}). {seen.outcome.error}")
        fit = [self._tell_answer(seen), self._tell_tools(seen)]
        self._tell_streaming(seen)
        self._tell_usage(seen)
        if model.server:
            self._tell_traits(model, asyncio.run(probe_server(model)))
            self._save_facts()
        if not all(fit):
            raise CommandError("This model cannot carry an agent as it is.")

    def _report(self, what: str, holds: bool, words: str) -> bool:
        self.stdout.write(f"  {what}: {'yes' if holds else 'no'}, {words}")
        return holds

    def _tell_answer(self, seen: _Seen) -> bool:
        if not seen.answer:
            return self._report("answers", False, "it ended without an answer")
        right = str(_ANSWER) in "".join(char for char in seen.answer if char.isdigit())
        return self._report(
            "answers", True, f"in {seen.ended - seen.began:.1f} s{'' if right else ', with a wrong number'}"
        )

    def _tell_tools(self, seen: _Seen) -> bool:
        if not seen.tools:
            hint = "told to use python it did not; where the server has no tool parser, set LLM_TOOL_FORMAT=template"
            return self._report("calls tools", False, hint)
        failed = [name for name, ok in seen.tools.items() if not ok]
        how = f", but its calls failed: {', '.join(failed)}" if failed else ""
        return self._report("calls tools", True, f"{', '.join(seen.tools)}{how}")

    def _tell_streaming(self, seen: _Seen) -> None:
        first = (seen.first_at or seen.ended) - seen.began
        if seen.pieces > 1:
            self._report("streams", True, f"the first words after {first:.2f} s, then {seen.pieces} pieces")
        else:
            self._report("streams", False, f"everything came at once, after {first:.2f} s")

    def _tell_usage(self, seen: _Seen) -> None:
        usage = seen.outcome.usage
        counted = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        self._report("reports usage", not usage.estimated, f"{'estimated ' if usage.estimated else ''}{counted}")
        wrote_s = seen.ended - (seen.first_at or seen.began) - seen.tools_s
        if wrote_s > 0:
            self.stdout.write(f"  speed: about {usage.output_tokens / wrote_s:.0f} tokens a second")

    def _tell_traits(self, model: ModelSettings, traits: ServerTraits) -> None:
        """What it refuses, and that it is not asked for."""
        facts = traits.facts
        if facts.refuses_tools:
            self.stdout.write("  refuses tools: yes, so they go in the prompt")
        else:
            self.stdout.write("  refuses tools: no")
        self._tell_trait("wants turns to alternate", traits.wants_alternation, "and here they always do")
        self._tell_trait(
            "wants its thoughts back", traits.wants_fields_back, "and here they are sent back with its calls"
        )
        left_out = ", ".join(sorted(facts.left_out))
        self._tell_trait("refuses optional parts", bool(left_out), f"{left_out}, so these are left out")
        limit = facts.limit(model.max_input_tokens)
        if traits.context and traits.context <= model.max_input_tokens:
            advice = f"LLM_MAX_INPUT_TOKENS is {model.max_input_tokens:,} and has to be below that"
            self.stdout.write(f"  context: {traits.context:,} tokens; {advice}")
        elif limit < model.max_input_tokens:
            self.stdout.write(
                f"  context: less than LLM_MAX_INPUT_TOKENS; requests are cut to {limit:,} tokens for now"
            )
        else:
            self.stdout.write(f"  context: {f'{traits.context:,} tokens' if traits.context else 'it does not say'}")

    def _save_facts(self) -> None:
        """Have all processes know it."""
        try:
            save_facts()
        except DatabaseError as error:
            self.stdout.write(f"This could not be written down, so each process finds it out by itself: {error}")
        else:
            self.stdout.write("  Every process knows this within a minute, for a day.")

    def _tell_trait(self, what: str, holds: bool | None, words: str) -> None:
        self.stdout.write(f"  {what}: {'not found out' if holds is None else f'yes, {words}' if holds else 'no'}")


async def _ask(model: ModelSettings) -> _Seen:
    """One run of the agent that has the python tool, with a clock beside it."""
    seen = _Seen(Outcome("failed", 0, error="The agent ended without a result."), time.perf_counter())
    run = agents.get_agent("researcher", model=model).start(_QUESTION, max_iterations=_MOST_CALLS)
    async with contextlib.aclosing(run):
        async for item in run:
            if isinstance(item, CallBegun | CallEnded):
                continue
            if isinstance(item, PartialStep):
                seen.pieces += 1
            if seen.first_at is None and (
                isinstance(item, PartialStep) or item.type in ("thought", "tool_use", "final_answer")
            ):
                seen.first_at = time.perf_counter()
            if isinstance(item, PartialStep):
                continue
            if item.data["type"] == "tool_result":
                seen.tools[item.data["tool_name"]] = item.data["ok"]
                seen.tools_s += item.data["duration_ms"] / 1000
            elif item.data["type"] == "final_answer":
                seen.answer = item.data["content"]
    seen.ended = time.perf_counter()
    seen.outcome = run.outcome or seen.outcome
    return seen
