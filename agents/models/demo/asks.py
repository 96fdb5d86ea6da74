"""The parts of a question that the demo model can answer with tools, and how it reads the tools' results.

Every number in an answer comes from a tool's result. An unexpected result is `Unreadable`, and the answer says so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Literal
from zoneinfo import available_timezones

from agents.json_types import JsonObject
from agents.models.demo.chinese import quote_text, speaks_chinese
from agents.models.demo.dates import TAKEN, DateQuestion, Day, find_dates
from agents.models.demo.sums import Sum, find_sums
from agents.text import json_object

#: How many characters of a message are read; a demo's question is shorter.
_READ = 4_000

# ASCII, so that an English word ends where a Chinese one begins.
_WORDS = re.IGNORECASE | re.ASCII
# Full-width forms as their ASCII counterparts, one to one, so that positions stay the same.
_PLAIN = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | dict.fromkeys(range(0xE000, 0xE200), " ")
_PLAIN |= dict.fromkeys((0x3000, 0xA0, 0x2009, 0x202F, 0x0A), " ") | {0x2212: "-"}
_URL = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"'「」『』，。；！？）)]+", _WORDS)
_RECALL = re.compile(
    r"(?:what (?:did|have|had) (?:we|i|you) (?:say|said|discuss(?:ed)?|talk(?:ed)?|decide[d]?|ask(?:ed)?|write|written)"
    r"|(?:did|have) (?:we|i) (?:ever |already )?(?:discuss(?:ed)?|talk(?:ed)?|ask(?:ed)?|mention(?:ed)?)"
    r"|do you remember|search (?:(?:my|our|the) )?(?:history|(?:past|earlier) sessions))"
    r"\s*(?:about|on|of|regarding|concerning|for)?\s*(?P<what>[^?\n]*)"
    r"|(?:關於|关于)(?P<about>[^，,?\n]{1,200}?)[，,]?\s*(?:我們|我们|我|之前|以前)+(?:說|说|談|谈|聊|討論|讨论|提|問|问)[^?\n]*"
    r"|(?:我們|我们|我)?(?:之前|以前|曾經|曾经|上次)?(?:說|说|談|谈|聊|討論|讨论|提到|提|問|问)(?:過|过|到|了)(?:什麼|什么|哪些)?(?:關於|关于|有關)?(?P<said>[^?\n]*)"
    r"|(?:搜尋|搜索|查詢|查)(?:一下)?(?:歷史|历史|之前的對話|過去的對話)[:\s]*(?P<history>[^?\n]*)",
    _WORDS,
)
_AGENTS = {
    "研究員": "researcher", "研究员": "researcher", "開發者": "developer", "开发者": "developer", "寫作者": "writer", "写作者": "writer",
}  # fmt: skip
_HAND_ON = re.compile(
    r"(?:\bask the (?P<agent>researcher|developer|writer)\b\s*(?:to\b)?[\s:,]*"
    rf"|(?:請|请|問|问|讓|让)(?P<who>{'|'.join(_AGENTS)})[\s:,]*)(?P<what>[^\n]+?)"
    r"(?=\s*[.;]?\s*(?:and\s+)?\bask the |[;。]|\n|\s*$)",
    _WORDS,
)
_ASK_ME = re.compile(
    r"\bask me\b\s*(?:about\b)?[\s:,]*(?P<what>[^\n.;?!]+?)(?=,?\s+and\b|[\n.;?!]|\s*$)|(?:問我|问我)[\s:,]*(?P<about>[^\n。；?!]+)",
    _WORDS,
)
#: A file with a text, as `agents.attachments` describes it.
_TEXT_FILE = re.compile(r"“(?P<name>[^”]{1,400})”, [^;]{0,200}?, to be read with read_file")
_PLACE = re.compile(r"\bin\s+(?P<place>[a-z][a-z_/ .'-]{1,40}?)(?=\s+(?:right|now|at|today)\b|[?.,!;]|\s*$)", _WORDS)
_HAN_PLACES = {
    "台北": "Asia/Taipei", "臺北": "Asia/Taipei", "台灣": "Asia/Taipei", "臺灣": "Asia/Taipei", "東京": "Asia/Tokyo",
    "日本": "Asia/Tokyo", "首爾": "Asia/Seoul", "香港": "Asia/Hong_Kong", "北京": "Asia/Shanghai", "上海": "Asia/Shanghai",
    "新加坡": "Asia/Singapore", "东京": "Asia/Tokyo", "台湾": "Asia/Taipei", "首尔": "Asia/Seoul", "悉尼": "Australia/Sydney",
    "伦敦": "Europe/London", "纽约": "America/New_York", "洛杉矶": "America/Los_Angeles", "曼谷": "Asia/Bangkok",
    "雪梨": "Australia/Sydney", "倫敦": "Europe/London",
    "巴黎": "Europe/Paris", "柏林": "Europe/Berlin", "紐約": "America/New_York", "洛杉磯": "America/Los_Angeles",
}  # fmt: skip
_MORE_PLACES = {
    "taiwan": "Asia/Taipei",
    "japan": "Asia/Tokyo",
    "beijing": "Asia/Shanghai",
    "san francisco": "America/Los_Angeles",
}

_WEEKDAYS = {
    "Monday": "星期一",
    "Tuesday": "星期二",
    "Wednesday": "星期三",
    "Thursday": "星期四",
    "Friday": "星期五",
    "Saturday": "星期六",
    "Sunday": "星期日",
}
_WEEKDAY = "|".join(_WEEKDAYS)


class Unreadable(Exception):
    """A tool's result is not the expected one."""


@dataclass(frozen=True)
class Ask:
    """A part of a question that one tool call answers."""

    start: int
    tool: str
    topic: str
    """The subject, for the thought."""
    arguments: Callable[[str], JsonObject]
    """The call's arguments, given today's date as Python (only used if `needs_today`)."""
    read: Callable[[str], str]
    """The answer, from the tool's result. Raises `Unreadable`."""
    needs_today: bool = False


def parse_asks(message: str, files: str = "") -> list[Ask]:
    """The parts of a message that can be answered, in order, and its files, which ``files`` describes; empty if there are none."""
    original = message[:_READ]
    chinese = speaks_chinese(message)
    text = original.translate(_PLAIN)
    # The part for another agent is read by that agent.
    asks = [_hand_on(match, original[slice(*match.span("what"))], chinese=chinese) for match in _HAND_ON.finditer(text)]
    text = _HAND_ON.sub(lambda match: TAKEN * len(match[0]), text)
    asks += [
        _ask_me(match, original[slice(*match.span("what" if match["what"] else "about"))], chinese=chinese)
        for match in _ASK_ME.finditer(text)
    ]
    text = _ASK_ME.sub(lambda match: TAKEN * len(match[0]), text)
    asks += [_page(match, chinese=chinese) for match in _URL.finditer(text)]
    text = _URL.sub(lambda match: TAKEN * len(match[0]), text)
    if (recall := _RECALL.search(text)) and (what := _recalled(recall)):
        asks.append(_recall(recall.start(), what, chinese=chinese))
        text = text[: recall.start()] + TAKEN * len(recall[0]) + text[recall.end() :]
    questions, text, now = find_dates(text)
    asks.extend(_date(question, chinese=chinese) for question in questions)
    if now is not None:
        asks.append(_now(now, _zone(text), chinese=chinese))
    asks.extend(_sum(found, original[found.start : found.end], chinese=chinese) for found in find_sums(text))
    asks.extend(_file(match, len(message), chinese=chinese) for match in _TEXT_FILE.finditer(files[:_READ]))
    return sorted(asks, key=lambda ask: ask.start)


def today_from(result: str) -> str:
    """Today's date as Python, from what `current_time` returned."""
    found = re.match(r"(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d", result)
    if found is None:
        raise Unreadable
    year, month, day = map(int, found.groups())
    return f"date({year}, {month}, {day})"


def current_time(*, chinese: bool) -> Ask:
    """The question for today's date, which others depend on."""
    return _now(0, "", chinese=chinese)


# -- sums -----------------------------------------------------------------------------------------


def _sum(found: Sum, label: str, *, chinese: bool) -> Ask:
    label = " ".join(label.split())

    def read(result: str) -> str:
        sign, value = _number(result)
        return f"{as_text(label)} {sign} **{value}{' %' if found.is_share else ''}**"

    topic = label if found.is_share else _closed_up(f"{label} 的值") if chinese else f"the value of {label}"
    return Ask(found.start, "python", topic, lambda _: {"code": found.code}, read)


def _number(result: str) -> tuple[Literal["=", "≈"], str]:
    """A number as people read it: with separators, and with no more digits than a float really has."""
    if re.fullmatch(r"-?\d{1,6000}", result):
        return "=", re.sub(r"(?<=\d)(?=(?:\d{3})+$)", ",", result)
    if not re.fullmatch(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", result):
        raise Unreadable
    exact, rounded = Decimal(result), Decimal(f"{float(result):.12g}")
    # 0.30000000000000004 is 0.3; the digits of 0.3333333333333333 repeat.
    sign: Literal["=", "≈"] = "≈" if exact != rounded and len(str(rounded).strip("-0.").replace(".", "")) > 10 else "="
    if rounded and not Decimal("1e-6") <= abs(rounded) < Decimal("1e15"):
        return sign, f"{float(result):.12g}"
    text = f"{rounded:,f}"
    return sign, text.rstrip("0").rstrip(".") if "." in text else text


# -- dates ----------------------------------------------------------------------------------------


def _date(question: DateQuestion, *, chinese: bool) -> Ask:
    def arguments(today: str) -> JsonObject:
        if not question.needs_today:
            return {"code": question.code}
        code = "\n".join(line for line in question.code.split("\n") if not line.startswith("from datetime"))
        imports = "date, timedelta" if "timedelta" in code else "date"
        return {"code": f"from datetime import {imports}\ntoday = {today}\n{code}"}

    read, topic = _DATES[question.kind]
    first, second = (_name(day, chinese=chinese) for day in (question.days[0], question.days[-1]))
    topic = _ZH_DATE_TOPICS[question.kind] if chinese else topic
    topic = topic.format(label=question.label, first=first, second=second)
    return Ask(
        question.start,
        "python",
        _closed_up(topic),
        arguments,
        lambda result: _closed_up(read(question, result, chinese)),
        question.needs_today,
    )


def _read_weekday(question: DateQuestion, result: str, chinese: bool) -> str:
    weekday = _matched(rf"'({_WEEKDAY})'", result)[0]
    label = _named(question.days[0], chinese=chinese)
    return f"{label} 是 **{_WEEKDAYS[weekday]}**" if chinese else f"{label} is a **{weekday}**"


def _read_date(question: DateQuestion, result: str, chinese: bool) -> str:
    day, weekday = _matched(rf"(\d{{4}}-\d\d-\d\d) ({_WEEKDAY})", result)
    label = as_text(question.label)
    return f"{label} 是 **{day}**，{_WEEKDAYS[weekday]}" if chinese else f"{label} is **{day}**, a {weekday}"


def _read_days(question: DateQuestion, result: str, chinese: bool) -> str:
    days = int(_matched(r"(-?\d{1,9})", result)[0])
    return _from_to(question, f"**{days:,} 天**" if chinese else f"**{_counted(days, 'day')}**", chinese=chinese)


def _read_weeks(question: DateQuestion, result: str, chinese: bool) -> str:
    weeks, days = map(int, _matched(r"\((-?\d{1,9}), (\d)\)", result))
    if chinese:
        length = f"**{weeks:,} 週**" + (f"又 {days} 天" if days else "")
    else:
        length = f"**{_counted(weeks, 'week')}**" + (f" and {_counted(days, 'day')}" if days else "")
    return _from_to(question, length, chinese=chinese)


def _from_to(question: DateQuestion, length: str, *, chinese: bool) -> str:
    first, second = (_named(day, chinese=chinese) for day in question.days)
    return f"從 {first} 到 {second}：{length}" if chinese else f"From {first} to {second} it is {length}"


def _name(day: Day, *, chinese: bool) -> str:
    if day.away == 0:
        return "今天" if chinese else "today"
    return day.label


def _named(day: Day, *, chinese: bool) -> str:
    label = as_text(_name(day, chinese=chinese))
    if day.note:
        return f"{label}（讀作 {day.note}）" if chinese else f"{label} (read as {day.note})"
    return label


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


_DATES: dict[str, tuple[Callable[[DateQuestion, str, bool], str], str]] = {
    "weekday": (_read_weekday, "the weekday of {label}"),
    "date": (_read_date, "the date {label}"),
    "days": (_read_days, "the number of days from {first} to {second}"),
    "weeks": (_read_weeks, "the number of weeks from {first} to {second}"),
}
_ZH_DATE_TOPICS = {
    "weekday": "{label} 是星期幾",
    "date": "{label} 的日期",
    "days": "從 {first} 到 {second} 的天數",
    "weeks": "從 {first} 到 {second} 的週數",
}


def _closed_up(text: str) -> str:
    """Chinese text without spaces between its characters."""
    return re.sub("(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])", "", text)


# -- other tools ----------------------------------------------------------------------------------


def _now(start: int, zone: str, *, chinese: bool) -> Ask:
    def read(result: str) -> str:
        day, clock, weekday, name = _matched(
            rf"(\d{{4}}-\d\d-\d\d)T(\d\d:\d\d):\d\d[+-]\d\d:\d\d\n({_WEEKDAY})\nTime zone: (\S+).*", result
        )
        if chinese:
            return f"現在是 **{day} {_WEEKDAYS[weekday]} {clock}**（{name}）"
        return f"It is **{clock} on {weekday}, {day}** ({name})"

    topic = "現在的時間" if chinese else "the current time"
    return Ask(start, "current_time", topic, lambda _: {"time_zone": zone} if zone else {}, read)


def _zone(text: str) -> str:
    """The time zone of a place that is named; an unknown one is passed to the tool unchanged."""
    for name, zone in _HAN_PLACES.items():
        if name in text:
            return zone
    found = _PLACE.search(text)
    if found is None:
        return ""
    place = found["place"].strip().removeprefix("the ")
    return _zones().get(place.casefold(), place)


@cache
def _zones() -> dict[str, str]:
    names = sorted(available_timezones())
    return (
        {zone.rpartition("/")[2].replace("_", " ").casefold(): zone for zone in names if "/" in zone}
        | _MORE_PLACES
        | {"utc": "UTC"}
    )


def _recalled(match: re.Match[str]) -> str:
    what = next((value for value in match.groups() if value and value.strip()), "")
    what = re.sub(
        r"\b(?:before|earlier|last time|yesterday|in the past|already)\b|[?？。.!！嗎吗呢的]+\s*$",
        "",
        what,
        flags=_WORDS,
    )
    return what.strip(" \t\"'“”「」『』,，.:。")


def _recall(start: int, what: str, *, chinese: bool) -> Ask:
    def read(result: str) -> str:
        if result.startswith("Nothing was found"):
            return (
                f"先前的對話裡找不到「{as_text(what)}」"
                if chinese
                else f"I found nothing about “{as_text(what)}” in your earlier sessions"
            )
        found = _matched(r"(\d+) hits? for .*?:\n\n(.*)", result)
        head = (
            f"關於「{as_text(what)}」，先前的對話裡有："
            if chinese
            else f"About “{as_text(what)}”, your earlier sessions have:"
        )
        return f"{head}\n\n{_quoted(found[1], 2_000)}"

    topic = f"先前說過關於「{what}」的什麼" if chinese else f"what was said about “{what}”"
    return Ask(start, "search_history", topic, lambda _: {"query": what}, read)


def _hand_on(match: re.Match[str], what: str, *, chinese: bool) -> Ask:
    agent = (match["agent"] or _AGENTS[match["who"]]).lower()
    name = match["who"] or agent
    what = what.strip(" ,，")

    def read(result: str) -> str:
        # Without the other agent's signature: the same one follows at the end.
        answer = result.partition("\n\n*—")[0].strip()
        head = f"{name}的回答：" if chinese else f"The {name} answers:"
        # Unchanged: it is Markdown already.
        quoted = "\n".join(f"> {line}".rstrip() for line in answer[:2_000].split("\n"))
        return f"{head}\n\n{quoted}"

    topic = f"{name}對「{what}」的回答" if chinese else f"what the {name} says to “{what}”"
    return Ask(match.start(), f"ask_{agent}", topic, lambda _: {"message": what}, read)


def _ask_me(match: re.Match[str], what: str, *, chinese: bool) -> Ask:
    what = what.strip(" ,，：:")
    question = f"關於「{what}」，你想怎麼做？" if chinese else f"What is your answer about “{what}”?"
    fields = [
        {"name": "answer", "label": "你的回答" if chinese else "Your answer", "kind": "text", "required": True},
        {"name": "sure", "label": "你確定嗎？" if chinese else "Are you sure?", "kind": "yes_no", "required": False},
    ]

    def read(result: str) -> str:
        answers = json_object(result, None)
        if answers is None or not isinstance(answers.get("answer"), str):
            raise Unreadable
        answer = quote_text(as_text(" ".join(answers["answer"].split())[:300]))
        doubts = answers.get("sure") is False
        if chinese:
            return f"你對「{what}」的回答是：{answer}" + ("，但你還不確定" if doubts else "")
        return f"about {what} you answered “{answer}”" + (", and are not sure" if doubts else "")

    topic = f"你對「{what}」的回答" if chinese else f"what you say about {what}"
    return Ask(match.start(), "ask_user", topic, lambda _: {"question": question, "fields": fields}, read)


def _page(match: re.Match[str], *, chinese: bool) -> Ask:
    url = match[0].rstrip(".,;:!?")
    url = url if "://" in url else f"https://{url}"

    def read(result: str) -> str:
        title, address, text = _matched(r"(?:Title: (.*)\n)?Address: (\S+)\n\n(.*)", result)
        name = quote_text(as_text(title or address))
        head = f"「{name}」的開頭：" if chinese else f"**{name}** begins:"
        return f"{head}\n\n{_quoted(text, 600)}"

    topic = f"網頁 {url} 的內容" if chinese else f"what {url} says"
    return Ask(match.start(), "fetch_page", topic, lambda _: {"url": url}, read)


def _file(match: re.Match[str], after: int, *, chinese: bool) -> Ask:
    name = match["name"]
    title = quote_text(as_text(name))

    def read(result: str) -> str:
        page, lines, text = _matched(r"“.*”, page ([\d,]+) of [\d,]+, lines ([\d,]+–[\d,]+):\n(.*)", result)
        content = "\n".join(line.partition("\t")[2] for line in text.split("\n"))
        head = f"「{title}」第 {page} 頁第 {lines} 行：" if chinese else f"**{title}**, page {page}, lines {lines}:"
        return f"{head}\n\n{_quoted(content, 600)}"

    topic = f"檔案「{name}」的內容" if chinese else f"what is in “{name}”"
    return Ask(after + match.start(), "read_file", topic, lambda _: {"file": name}, read)


# -- reading and writing --------------------------------------------------------------------------


def _matched(pattern: str, result: str) -> tuple[str, ...]:
    found = re.fullmatch(pattern, result.strip(), re.DOTALL)
    if found is None:
        raise Unreadable
    return tuple(group or "" for group in found.groups())


def as_text(text: str) -> str:
    """Text escaped for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", text)


def _quoted(text: str, limit: int) -> str:
    text = text[:limit] + ("…" if len(text) > limit else "")
    return "\n".join(f"> {quote_text(as_text(line.strip()))}" if line.strip() else ">" for line in text.split("\n"))
