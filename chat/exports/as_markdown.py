"""Markdown: a conversation to read, with what was thought and done between question and answer."""

import re
from collections.abc import Iterator

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.exports.folding import Folding
from chat.exports.source import Source
from chat.models import Run
from chat.rendering import humanize
from chat.rendering.decisions import decision_row
from chat.rendering.rows import agent_title, asked_by, failure_banner, run_summary
from chat.rendering.transcript import Call, Item

_TICKS = re.compile(r"`{3,}")


def write_markdown(source: Source) -> Iterator[str]:
    """A heading for each question; thoughts as quotations, arguments and results as code, answers unchanged."""
    session = source.session
    facts = [agent_title(session.agent_name), date_format(timezone.localtime(session.created_at), "Y-m-d H:i")]
    if session.imported_at is not None:
        facts.append(_("imported"))
    yield f"# {_line(source.title) or _('New session')}\n\n{' · '.join(facts)}\n\n"
    for run in source.runs():
        yield from _run(source, run, within="")


def _run(source: Source, row: Run, within: str) -> Iterator[str]:
    """A run; one ``within`` another is marked as such."""
    folding = Folding(source, row)
    run = folding.run
    if within:
        yield _behind(within, f"**{asked_by(run)}** – {_line(run.message)}")
    else:
        names = "".join(f"- {_line(file['name'])}\n" for file in run.files)
        yield f"## {_line(run.user) or _('Question')}\n\n{_closed(run.message)}\n\n{names and names + chr(10)}"
    for item in folding.items():
        yield from _item(source, folding, item, within)
    if run.answer is not None:
        heading = "" if within else f"### {_('Answer')}\n\n"
        yield _behind(within, f"{heading}{_closed(run.answer.text)}")
    if (trouble := failure_banner(run) if run.ended else None) is not None:
        yield _behind(within, f"**{trouble['title']}** {trouble['text']}".strip())
    if summary := run_summary(run):
        yield _behind(within, f"*{summary}*")


def _item(source: Source, folding: Folding, item: Item, within: str) -> Iterator[str]:
    if item.kind == "thought":
        number = "" if item.seq is None else f"{item.seq} · "
        yield _behind(f"{within}> ", f"**{number}{_('Thought')}**\n\n{item.text}")
        return
    if item.kind == "word":
        number = "" if item.seq is None else f"{item.seq} · "
        label = _("%(name)s added") % {"name": item.by or _("Somebody")}
        yield _behind(within, f"**{number}{_line(label)}**\n\n{_closed(item.text)}")
        return
    for call in item.calls:
        yield _behind(within, _call(call))
        if call.name.startswith(ASK_PREFIX):
            for child in folding.asked_by(call.call_id):
                yield from _run(source, child, f"{within}> ")


def _call(call: Call) -> str:
    number = "" if call.seq is None else f"{call.seq} · "
    arguments = call.arguments if isinstance(call.arguments, str) else humanize.as_json(call.arguments)
    parts = [f"**{number}{_line(call.name)}**", _fenced(arguments, "" if isinstance(call.arguments, str) else "json")]
    parts += _decided(call)
    if (result := call.result) is None:
        parts.append(f"*{_('No result')}*")
    else:
        label = _("Result") if result.ok else _("Failed")
        parts += [f"{label} · {humanize.duration(result.duration_ms)}" if result.duration_ms is not None else label]
        parts += [_fenced(result.content)] if result.content else []
        parts += ["\n".join(f"- {_line(file['name'])}" for file in result.files)] if result.files else []
    return "\n\n".join(parts)


def _decided(call: Call) -> list[str]:
    """Who has decided about a call, or answered it, and what."""
    row = decision_row(call, "", "")
    if row is None or not row["text"]:
        return []
    parts = [row["text"], *([_closed(row["reason"])] if row["reason"] else [])]
    parts += [f"- {_line(label)}: {_line(answer)}" for label, answer in row["answers"]]
    edited = call.decision.arguments if call.decision is not None else None
    return [*parts, *([_fenced(humanize.as_json(edited), "json")] if edited is not None else [])]


def _fenced(text: str, language: str = "") -> str:
    """Text as a code block, fenced by more backticks than it contains."""
    ticks = "`" * max((len(run) + 1 for run in _TICKS.findall(text)), default=3)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _closed(text: str) -> str:
    """Markdown with its last code block closed, so that it does not include what follows."""
    fences = [line.strip() for line in text.split("\n") if line.lstrip().startswith("```")]
    return f"{text}\n{'`' * max(map(len, map(_ticks, fences)))}" if len(fences) % 2 else text


def _ticks(fence: str) -> str:
    return fence[: len(fence) - len(fence.lstrip("`"))]


def _line(text: str) -> str:
    return " ".join(text.split())


def _behind(mark: str, text: str) -> str:
    """A paragraph of its own, each line marked as a quotation."""
    if not mark:
        return f"{text}\n\n"
    return "".join(f"{f'{mark}{line}'.rstrip()}\n" for line in text.split("\n")) + f"{mark.rstrip()[:-1].rstrip()}\n"
