"""Texts for durations, sizes, tools and ends of runs, in the reader's language.

For live texts ``static/chat/state/humanize.js`` does the same, with the same sentences and translations; a test compares them.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import orjson
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from agents.text import utf16_length
from chat.protocol.frame_data import SentAlongData
from chat.strip_markdown import strip_markdown

#: How many characters of a text a folded row contains; the row's own width cuts the rest.
_GIST = 160
#: How many characters of a Markdown text are read for these: some may be markup.
_GIST_OF = 600
#: About how many characters of a question fit on one line, and from how many lines on it is folded.
_LINE = 80
_LINES = 12


def nbsp(figure: str) -> str:
    """A number and its unit with a space that does not break: ``5 s``."""
    return figure.replace(" ", "\N{NO-BREAK SPACE}")


def duration(ms: int | None) -> str:
    """A measured time in a row: ``7 ms``, ``0.4 s``, ``30.2 s``, ``2 m 03 s``. Empty if unknown."""
    if ms is None:
        return ""
    if ms < 100:
        return nbsp(_("%(n)s ms") % {"n": ms} if ms >= 1 else _("under 1 ms"))
    if ms < 59_950:
        tenths = (ms + 50) // 100
        return _seconds(f"{tenths // 10}.{tenths % 10}")
    return _minutes(ms)


def approx_duration(ms: int | None) -> str:
    """A measured time within a sentence: ``0.4 s``, ``31 s``, ``1 m 12 s``."""
    if ms is None:
        return ""
    if ms < 950:
        return duration(ms)
    if ms < 59_500:
        return _seconds((ms + 500) // 1000)
    return _minutes(ms)


def _seconds(number: int | str) -> str:
    return nbsp(_("%(n)s s") % {"n": number})


def _minutes(ms: int) -> str:
    seconds = (ms + 500) // 1000
    if seconds < 3600:
        return nbsp(_("%(m)s m %(s)s s") % {"m": seconds // 60, "s": f"{seconds % 60:02}"})
    return nbsp(_("%(h)s h %(m)s m") % {"h": seconds // 3600, "m": f"{seconds // 60 % 60:02}"})


def clock(ms: int) -> str:
    """A running clock: ``1:11``, ``1:02:03``."""
    seconds = max(0, ms) // 1000
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02}"
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def count(number: int) -> str:
    """A number of tokens: ``208``, ``8.1k``, ``1.2M``."""
    if number < 1000:
        return str(number)
    if number < 999_950:
        tenths = (number + 50) // 100
        return f"{tenths // 10}.{tenths % 10}k"
    tenths = (number + 50_000) // 100_000
    return f"{tenths // 10}.{tenths % 10}M"


def size(length: int) -> str:
    """The length of a text: ``412 characters``, ``48 kB``, ``1.2 MB``."""
    if length < 1000:
        return nbsp(ngettext("%(n)d character", "%(n)d characters", length) % {"n": length})
    if length < 999_500:
        return nbsp(_("%(n)s kB") % {"n": (length + 500) // 1000})
    tenths = (length + 50_000) // 100_000
    return nbsp(_("%(n)s MB") % {"n": f"{tenths // 10}.{tenths % 10}"})


def file_size(number: int) -> str:
    """The size of a file: ``412 bytes``, ``48 kB``, ``1.2 MB``."""
    return size(number) if number >= 1000 else nbsp(ngettext("%(n)d byte", "%(n)d bytes", number) % {"n": number})


def first_line(text: str) -> str:
    """The beginning of a text on one line."""
    return " ".join(text[:400].split())[:_GIST]


def markdown_gist(text: str) -> str:
    """The beginning of a model's Markdown as plain text on one line."""
    return first_line(strip_markdown(text[:_GIST_OF]))


def quoted(text: str) -> str:
    """A text between the quotation marks of the reader's language."""
    return _("“%(text)s”") % {"text": text}


def join_list(parts: Iterable[str]) -> str:
    """Parts of a sentence, joined as a list."""
    return pgettext("between the parts of a list", ", ").join(parts)


def sentences(one: str, other: str) -> str:
    """Two whole sentences, one after the other; either may be empty."""
    # A Chinese full stop contains its space.
    return f"{one}{'' if one[-1] in '。！？' else ' '}{other}" if one and other else one or other


def is_long(message: str) -> bool:
    """Whether a question is folded to its first lines. Depends only on its text, so that server and page agree."""
    return sum(max(1, -(-utf16_length(line) // _LINE)) for line in message.split("\n")) > _LINES


class ArgumentSummary(NamedTuple):
    """The most informative argument of a call; ``code``: whether it is shown in a monospaced font."""

    text: str
    code: bool = False


def summarize_arguments(arguments: Any) -> ArgumentSummary:
    """The most informative argument of a call: its query, its page, its code's first comment, or else its first two plain values."""
    if not isinstance(arguments, dict):
        return ArgumentSummary(first_line(arguments if isinstance(arguments, str) else _plain(arguments)), code=True)
    match arguments:
        case {"query": str(query)}:
            return ArgumentSummary(quoted(first_line(query)))
        case {"url": str(url)}:
            return ArgumentSummary(re.sub(r"^https?://", "", first_line(url)))
        case {"code": str(code)}:
            return _summarize_code(code)
    plain = [_plain(value) for value in arguments.values() if isinstance(value, str | int | float)]
    return ArgumentSummary(first_line(", ".join(plain[:2])))


def _summarize_code(code: str) -> ArgumentSummary:
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    first = next(_after_imports(lines), lines[0] if lines else "")
    if first.startswith("#") and first.strip("# "):
        return ArgumentSummary(first_line(first.strip("# ")))
    return ArgumentSummary(first_line(first), code=True)


def _after_imports(lines: Sequence[str]) -> Iterator[str]:
    """The lines that are not imports; an import in parentheses spans several lines."""
    is_open = False
    for line in lines:
        if is_open or line.startswith(("import ", "from ")):
            is_open = (is_open or "(" in line) and ")" not in line
        else:
            yield line


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_json(value: Any) -> str:
    """A value as JSON: plain values on one line, others indented."""
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict | list) else None)


def summarize_result(content: str) -> str:
    """A short summary of a call's result."""
    text = content.strip()
    if text[:1] in "[{" and len(text) <= 2_000:
        try:
            # The standard library's parser has an error of its own for deep nesting, and accepts text that is no JSON.
            value = orjson.loads(text)
        except ValueError:
            return first_line(text)
        if isinstance(value, list):
            return ngettext("%(n)d item", "%(n)d items", len(value)) % {"n": len(value)}
        return ngettext("%(n)d field", "%(n)d fields", len(value)) % {"n": len(value)}
    return first_line(text)


#: Icon of a tool in the sprite; any other tool gets a wrench.
_ICONS = {
    "python": "python",
    "fetch_page": "globe",
    "search_history": "history",
    "current_time": "clock",
    "read_file": "file",
    "search_file": "search",
}


def icon(tool_name: str) -> str:
    """The sprite's symbol for a tool."""
    return _ICONS.get(tool_name, "tool")


def _done(tool_name: str, times: int) -> str:
    n = {"n": times}
    match tool_name:
        case "python" if times == 1:
            return _("ran Python")
        case "python":
            return ngettext("ran Python %(n)d time", "ran Python %(n)d times", times) % n
        case "fetch_page":
            return ngettext("read %(n)d page", "read %(n)d pages", times) % n
        case "search_history":
            return _("searched past sessions")
        case "current_time":
            return _("looked at the clock")
        case "read_file":
            return _("read in files")
        case "search_file":
            return _("searched files")
    if times == 1:
        return _("used %(tool)s") % {"tool": tool_name}
    return ngettext("used %(tool)s %(n)d time", "used %(tool)s %(n)d times", times) % {"tool": tool_name, **n}


def summarize_tools(tool_names: Iterable[str], thoughts: int = 0) -> str:
    """One line about what a run did: ``Searched past sessions, read 2 pages``."""
    times: dict[str, int] = {}
    for name in tool_names:
        times[name] = times.get(name, 0) + 1
    listed = join_list(_done(name, number) for name, number in times.items())
    if not listed:
        return _("Thought it through") if thoughts else ""
    return listed[:1].upper() + listed[1:]


def at_work() -> str:
    """The line of a run that has not done anything yet."""
    return _("Working")


def steps(number: int) -> str:
    """The number of steps, in words."""
    return nbsp(ngettext("%(n)d step", "%(n)d steps", number) % {"n": number})


def tools(number: int) -> str:
    """The number of tool calls, in words."""
    return nbsp(ngettext("%(n)d tool", "%(n)d tools", number) % {"n": number})


def failed(number: int) -> str:
    """The number of failed tool calls, in words; empty for 0."""
    return nbsp(ngettext("%(n)d failed", "%(n)d failed", number) % {"n": number}) if number else ""


def sent_along(along: SentAlongData) -> str:
    """What was sent along with a message by a client that keeps the conversation itself."""
    number = along["messages"]
    if not number:
        return _("The client has sent instructions along")
    if not along["instructions"]:
        text = ngettext(
            "The client has sent %(n)d earlier message along",
            "The client has sent %(n)d earlier messages along",
            number,
        )
    else:
        text = ngettext(
            "The client has sent instructions and %(n)d earlier message along",
            "The client has sent instructions and %(n)d earlier messages along",
            number,
        )
    return text % {"n": number}


def usage(input_tokens: int, output_tokens: int, *, estimated: bool = False) -> str:
    """Tokens of a run, in two groups that do not break; says if they are estimated."""
    text = _("%(input)s in / %(output)s out") % {"input": count(input_tokens), "output": count(output_tokens)}
    if estimated:
        text = _("about %(usage)s") % {"usage": text}
    return " / ".join(map(nbsp, text.split(" / ")))


def cost(amount: float, currency: str) -> str:
    """A cost: ``1.20 USD``, ``0.0123 USD``; the smallest amounts as a bound."""
    if 0 < amount < 0.0001:
        return nbsp(_("under %(amount)s %(currency)s") % {"amount": "0.0001", "currency": currency})
    return nbsp(f"{amount:.2f} {currency}" if amount >= 1 or amount == 0 else f"{amount:.4f} {currency}")


class _Paid(Protocol):
    """A run's row."""

    cost: Decimal | None
    currency: str
    input_tokens: int
    output_tokens: int


def run_cost(run: _Paid) -> str:
    """A run's cost; says if it is not known. Empty for a run that used nothing."""
    if run.cost is not None:
        return cost(float(run.cost), run.currency)
    return _("cost unknown") if run.input_tokens + run.output_tokens else ""


def status(
    status: str,
    *,
    using: Sequence[str] = (),
    growing: str = "",
    begun: bool = True,
    by: str | None = None,
    limit: int = 0,
    waits_for: str = "",
) -> str:
    """The status word of a run: the same in header, sidebar and tab title.

    ``using``: the names of running tools; ``growing``: the type of the step that is being written; ``begun``: whether the run has a
    step; ``by``: who stopped it; ``waits_for``: ``approval`` or ``question``, if it is known what it waits for.
    """
    match status:
        case "queued":
            return _("Queued")
        case "waiting":
            return waiting(waits_for)
        case "running":
            return _at_work(using, growing, begun)
        case "cancelling":
            return _("Stopping")
        case "completed":
            return _("Finished")
        case "cancelled":
            return _("Stopped by %(name)s") % {"name": by} if by else _("Stopped")
        case "failed":
            return _("Failed")
        case "interrupted":
            return _("Interrupted by restart")
        case "max_iterations":
            return _("Limit of %(n)d reached") % {"n": limit} if limit else _("Limit reached")
    return ""


def _at_work(using: Sequence[str], growing: str, begun: bool) -> str:
    if growing == "thought":
        return _("Thinking")
    if growing in ("final_answer", "response"):
        return _("Answering")
    if len(using) == 1:
        return _("Using %(tool)s") % {"tool": using[0]}
    if using:
        return ngettext("Using %(n)d tool", "Using %(n)d tools", len(using)) % {"n": len(using)}
    return _("Thinking") if begun else _("Starting")


def waiting(waits_for: str) -> str:
    """What a run waits for."""
    match waits_for:
        case "approval":
            return _("Waiting for approval")
        case "question":
            return _("Waiting for an answer")
    return _("Waiting for somebody")


def waited(ms: int | None) -> str:
    """How long a run has waited for people; empty if it has not."""
    return nbsp(_("waited %(time)s") % {"time": approx_duration(ms)}) if ms else ""


def removed(by: str | None) -> str:
    """The end of a run that was removed from the queue."""
    return _("Removed from the queue by %(name)s") % {"name": by} if by else _("Removed from the queue")


#: The dot before the status word.
_DOTS = {
    "queued": "queue",
    "running": "live",
    "waiting": "wait",
    "cancelling": "halt",
    "completed": "done",
    "cancelled": "halt",
    "failed": "fail",
    "interrupted": "wait",
    "max_iterations": "halt",
}


def dot(status: str) -> str:
    """The shape and colour of a status's dot: ended runs are grey."""
    return _DOTS.get(status, "done")


def cause(code: str) -> str:
    """The headline of a failure, by the protocol's error code."""
    match code:
        case "model_unreachable":
            return _("The model could not be reached.")
        case "model_auth":
            return _("The model refused the key.")
        case "model_rate_limited":
            return _("The model has had too many requests.")
        case "model_timeout":
            return _("The model stopped answering.")
        case "model_cut_off":
            return _("The model was cut off.")
        case "model_error":
            return _("The model reported an error.")
        case "tool_failed":
            return _("A tool failed.")
        case "storage":
            return _("A step could not be stored.")
        case "budget_exceeded":
            return _("The budget is used up.")
    return _("The run failed.")


def initials(name: str) -> str:
    """Two letters for a person."""
    words = [word for word in re.split(r"[\s._\-@]+", name) if word]
    if not words:
        return "?"
    letters = words[0][:2] if len(words) == 1 else words[0][0] + words[-1][0]
    return letters.upper()


def tint(name: str) -> str:
    """One of four quiet colours for a person, always the same one."""
    return ("", "b", "c", "d")[sum(map(ord, name)) % 4]
