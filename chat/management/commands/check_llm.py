"""``manage.py check_llm``: whether the configured model answers, streams, reports usage and calls tools, how fast, and what it refuses."""

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

import agents
from agents import ModelSettings
from agents.models.probing import ServerTraits, probe_server
from agents.trial import Trial, try_model
from chat.catalog.model_facts import save_facts


class Command(BaseCommand):
    """Ask the model something that needs a tool, and report what happened."""

    help = "Say whether the configured model answers, streams, reports usage and calls tools, how fast, and what it refuses."

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask and report; the exit code is 1 if the model cannot run an agent."""
        model: ModelSettings = settings.AGENT_MODEL
        if model.server:
            self.stdout.write(f"Asking {model.model or 'the model'} at {agents.mask_text(model.server)} …")
        else:
            self.stdout.write("Asking the built-in demo model: LLM_MODEL_SERVER is not set. It is no language model.")
        self.stdout.flush()
        agents.preload()
        trial = asyncio.run(try_model(model))
        if trial.outcome.status == "failed":
            raise CommandError(f"It does not answer ({trial.outcome.code}). {trial.outcome.error}")
        reports = [self._report_answer(trial), self._report_tools(trial)]
        self._report_streaming(trial)
        self._report_usage(trial)
        if model.server:
            self._report_traits(model, asyncio.run(probe_server(model)))
            self._save_facts(model)
        if not all(reports):
            raise CommandError("This model cannot run an agent as it is.")

    def _report(self, what: str, holds: bool, text: str) -> bool:
        self.stdout.write(f"  {what}: {'yes' if holds else 'no'}, {text}")
        return holds

    def _report_answer(self, trial: Trial) -> bool:
        if not trial.answer:
            return self._report("answers", False, "it ended without an answer")
        return self._report(
            "answers", True, f"in {trial.took_s:.1f} s{'' if trial.is_right else ', with a wrong number'}"
        )

    def _report_tools(self, trial: Trial) -> bool:
        if not trial.tools:
            hint = (
                "it was told to call python and did not; if the server has no tool parser, set LLM_TOOL_FORMAT=template"
            )
            return self._report("calls tools", False, hint)
        failed = [name for name, ok in trial.tools.items() if not ok]
        how = f", but its calls failed: {', '.join(failed)}" if failed else ""
        return self._report("calls tools", True, f"{', '.join(trial.tools)}{how}")

    def _report_streaming(self, trial: Trial) -> None:
        first = trial.first_s
        if trial.pieces > 1:
            self._report("streams", True, f"the first words after {first:.2f} s, then {trial.pieces} pieces")
        else:
            self._report("streams", False, f"everything arrived at once, after {first:.2f} s")

    def _report_usage(self, trial: Trial) -> None:
        usage = trial.outcome.usage
        counted = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        self._report("reports usage", not usage.estimated, f"{'estimated ' if usage.estimated else ''}{counted}")
        wrote_s = trial.ended - (trial.first_at or trial.began) - trial.tools_s
        if wrote_s > 0:
            self.stdout.write(f"  speed: about {usage.output_tokens / wrote_s:.0f} tokens a second")

    def _report_traits(self, model: ModelSettings, traits: ServerTraits) -> None:
        """Report what the server refuses, and that requests leave it out."""
        facts = traits.facts
        if facts.refuses_tools:
            self.stdout.write("  refuses tools: yes, so they go in the prompt")
        else:
            self.stdout.write("  refuses tools: no")
        self._report_trait("requires alternating turns", traits.wants_alternation, "and requests always have them")
        self._report_trait(
            "requires its thoughts back", traits.wants_fields_back, "and requests send them with its calls"
        )
        left_out = ", ".join(sorted(facts.left_out))
        self._report_trait("refuses optional parts", bool(left_out), f"{left_out}, so these are left out")
        limit = facts.limit(model.max_input_tokens)
        if traits.context and traits.context <= model.max_input_tokens:
            advice = f"LLM_MAX_INPUT_TOKENS is {model.max_input_tokens:,} and has to be below that"
            self.stdout.write(f"  context: {traits.context:,} tokens; {advice}")
        elif limit < model.max_input_tokens:
            self.stdout.write(
                f"  context: less than LLM_MAX_INPUT_TOKENS; requests are cut to {limit:,} tokens for now"
            )
        else:
            self.stdout.write(f"  context: {f'{traits.context:,} tokens' if traits.context else 'unknown'}")

    def _save_facts(self, model: ModelSettings) -> None:
        """Store the facts for all processes."""
        try:
            save_facts(model)
        except DatabaseError as error:
            self.stdout.write(f"These findings could not be stored, so each process has to make them itself: {error}")
        else:
            self.stdout.write("  All processes use these findings within a minute, for a day.")

    def _report_trait(self, what: str, holds: bool | None, text: str) -> None:
        self.stdout.write(f"  {what}: {'unknown' if holds is None else f'yes, {text}' if holds else 'no'}")
