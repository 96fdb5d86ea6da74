"""Finds questions about dates, in English or Chinese, and writes them as Python. Computes nothing itself."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agents.models.demo.quantities import HAN, WORDS, parse_number

# ASCII, so that an English word ends where a Chinese one begins.
_WORDS = re.IGNORECASE | re.ASCII
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?"
    "|dec(?:ember)?"
)
_DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_HAN_NUMBER = rf"(?<!\d)\d{{1,12}}|[{HAN}]{{1,12}}"
_DATES = [
    re.compile(pattern, _WORDS)
    for pattern in (
        r"(?<![\d-])(?P<y>\d{4})\s?[-/.]\s?(?P<m>\d{1,2})\s?[-/.]\s?(?P<d>\d{1,2})(?![\d-])",
        rf"(?:(?P<era>民國)\s*)?(?P<y>\d{{2,4}}|[{HAN}]{{4}})\s*年\s*(?P<m>{_HAN_NUMBER})\s*月\s*(?P<d>{_HAN_NUMBER})\s*[日號号]?",
        rf"\b{_DAY}(?:\s+of)?\s+(?P<month>{_MONTH})\b\.?,?\s+(?P<y>\d{{4}})\b",
        rf"\b(?P<month>{_MONTH})\b\.?\s+{_DAY}\b,?\s+(?P<y>\d{{4}})\b",
        r"(?<![\d./])(?P<a>\d{1,2})(?P<sign>[-./])(?P<b>\d{1,2})(?P=sign)(?P<y>\d{4})(?![\d./])",
        rf"\b{_DAY}(?:\s+of)?\s+(?P<month>{_MONTH})\b",
        rf"\b(?P<month>{_MONTH})\b\.?\s+{_DAY}\b(?!\s*[:%])",
        rf"(?P<m>{_HAN_NUMBER})\s*月\s*(?P<d>{_HAN_NUMBER})\s*[日號号]",
        r"\b(?P<christmas>christmas(?: day)?\b)|(?P<聖誕>聖誕節?|圣诞节?)",
        r"\b(?P<newyear>new year'?s day\b)|(?P<元旦>元旦)",
        r"\b(?P<the_day_after>the day after tomorrow|overmorrow)\b|(?P<後天>後天|后天)",
        r"\b(?P<tomorrow>tomorrow)\b|(?P<明天>明天|明日)",
        r"\b(?P<yesterday>yesterday)\b|(?P<昨天>昨天|昨日)",
        r"\b(?P<today>today|now)\b|(?P<今天>今天|今日|現在|现在)",
    )
]
_FIXED = {"christmas": (12, 25), "聖誕": (12, 25), "newyear": (1, 1), "元旦": (1, 1)}
_AWAY = {"the_day_after": 2, "後天": 2, "tomorrow": 1, "明天": 1, "yesterday": -1, "昨天": -1, "today": 0, "今天": 0}

# Dates are replaced in the text by one of these marks each, so that a question is matched by its words.
_TODAY_MARK, _MARKS = "\ue100", 64
_MARK = f"[{_TODAY_MARK}-{chr(ord(_TODAY_MARK) + _MARKS - 1)}]"
#: Replaces text that was parsed, so that it is not parsed again as part of its surroundings.
TAKEN = "\ue000"
# Bounded, and only from a number's beginning: otherwise the time grows with the square of the length.
_HOW_MANY = rf"(?P<n>(?<!\d)\d[\d,]{{0,30}}|\b(?:an?|{'|'.join(WORDS)})\b|[{HAN}]{{1,12}})"
_UNIT = r"(?P<unit>days?\b|weeks?\b|fortnights?\b|months?\b|years?\b|[個个]?(?:星期|禮拜|礼拜)|週|周|[個个]月|天|日|年)"
_SPAN = rf"{_HOW_MANY}\s*{_UNIT}"


@dataclass(frozen=True, slots=True)
class Day:
    """A date as written: a complete one, one of this year, or one relative to today."""

    label: str
    year: int | None = None
    month: int = 0
    day: int = 0
    away: int | None = None
    note: str = ""
    """How an ambiguous date was read."""

    @property
    def needs_today(self) -> bool:
        """Whether today's date is needed to compute it."""
        return self.year is None

    def python(self, *, coming: bool = False) -> str:
        """The date as Python; ``coming``: the next such day instead of this year's."""
        if self.away is not None:
            return (
                "today" if self.away == 0 else f"today {'+' if self.away > 0 else '-'} timedelta(days={abs(self.away)})"
            )
        if self.year is not None:
            return f"date({self.year}, {self.month}, {self.day})"
        if not coming:
            return f"date(today.year, {self.month}, {self.day})"
        return f"date(today.year + ((today.month, today.day) > ({self.month}, {self.day})), {self.month}, {self.day})"


@dataclass(frozen=True, slots=True)
class DateQuestion:
    """A question about dates. ``code`` may use ``today``, which must be defined before it if `needs_today`."""

    kind: Literal["weekday", "days", "weeks", "date"]
    start: int
    end: int
    label: str
    code: str
    needs_today: bool
    days: tuple[Day, ...] = ()


def find_dates(text: str) -> tuple[list[DateQuestion], str, int | None]:
    """All questions about dates; the text without them; the position of a question for today itself, if there is one."""
    return _Finder(text).find()


class _Finder:
    def __init__(self, text: str) -> None:
        self._days: list[Day] = [_TODAY]
        self._found: list[DateQuestion] = []
        self._original = text
        self._text = self._mark(text)

    def find(self) -> tuple[list[DateQuestion], str, int | None]:
        for pattern, read in _SHIFTS:
            self._each(pattern, lambda match, read=read: self._shift(match, *read(match)))  # type: ignore[misc]
        self._each(_TWO, self._between)
        self._each(_ONE, self._to_or_since)
        asks_today = _ASKS_TODAY.search(self._text)
        self._each(_ONE, self._weekday)
        found = sorted(self._found, key=lambda question: question.start)
        return found, re.sub(_MARK, TAKEN, self._text), asks_today.start() if asks_today else None

    def _mark(self, text: str) -> str:
        """Replace each date by a mark and spaces, so that positions stay the same."""
        for pattern in _DATES:

            def replace(match: re.Match[str]) -> str:
                day = _read(match)
                if day is None or len(self._days) == _MARKS:
                    return match[0]
                if day.away == 0:
                    return _TODAY_MARK + " " * (len(match[0]) - 1)
                self._days.append(day)
                return chr(ord(_TODAY_MARK) + len(self._days) - 1) + " " * (len(match[0]) - 1)

            text = pattern.sub(replace, text)
        return text

    def _day(self, mark: str) -> Day:
        return self._days[ord(mark) - ord(_TODAY_MARK)]

    def _each(self, pattern: re.Pattern[str], ask: Callable[[re.Match[str]], DateQuestion | None]) -> None:
        """Ask for each match, and remove the parsed text."""
        at = 0
        while match := pattern.search(self._text, at):
            question = ask(match)
            at = match.end()
            if question is not None:
                self._found.append(question)
                self._text = self._text[: match.start()] + TAKEN * len(match[0]) + self._text[match.end() :]

    def _label(self, match: re.Match[str]) -> str:
        # A mark at the end stands for the whole date, which has spaces after the mark in the text.
        last = match[0][-1]
        more = len(self._day(last).label) - 1 if re.fullmatch(_MARK, last) and last != _TODAY_MARK else 0
        if last == _TODAY_MARK:
            more = len(self._text[match.end() :]) - len(self._text[match.end() :].lstrip(" "))
        return " ".join(self._original[match.start() : match.end() + more].split())

    def _asks_length(self, match: re.Match[str]) -> bool:
        """Whether the matched question is about a length of time, rather than a weekday."""
        before = [edge.end() for edge in _EDGE.finditer(self._text, 0, match.start())]
        after = _EDGE.search(self._text, match.end())
        clause = self._text[before[-1] if before else 0 : after.start() if after else None]
        if _LENGTH.search(clause):
            return True
        return not _WEEKDAY.search(clause) and _LENGTH.search(self._text) is not None

    def _shift(self, match: re.Match[str], mark: str | None, sign: int) -> DateQuestion | None:
        count = _count(match["n"])
        if count is None:
            return None
        day = self._day(mark) if mark else _TODAY
        code = _SHIFT_CODE[_unit(match["unit"])](day.python(), sign * count)
        return DateQuestion("date", match.start(), match.end(), self._label(match), code, day.needs_today, (day,))

    def _between(self, match: re.Match[str]) -> DateQuestion | None:
        if not self._asks_length(match):
            return None
        first, second = self._day(match["one"]), self._day(match["two"])
        return self._length(match, first, second, first.python(), second.python())

    def _to_or_since(self, match: re.Match[str]) -> DateQuestion | None:
        day = self._day(match["one"])
        if day is _TODAY or not self._asks_length(match):
            return None
        if _SINCE.search(self._text):
            return self._length(match, day, _TODAY, day.python(), "today")
        return self._length(match, _TODAY, day, "today", day.python(coming=True))

    def _length(self, match: re.Match[str], first: Day, second: Day, start: str, end: str) -> DateQuestion:
        kind: Literal["days", "weeks"] = "weeks" if _WEEKS.search(self._text) else "days"
        days = f"({_wrapped(end)} - {_wrapped(start)}).days"
        code = f"divmod({days}, 7)" if kind == "weeks" else days
        needs_today = first.needs_today or second.needs_today
        return DateQuestion(
            kind, match.start(), match.end(), self._label(match), _imports(code), needs_today, (first, second)
        )

    def _weekday(self, match: re.Match[str]) -> DateQuestion | None:
        day = self._day(match["one"])
        if day is _TODAY or (day.needs_today and not _WEEKDAY.search(self._text)):
            return None  # today itself is for the clock to tell; and "see you tomorrow" is no question
        code = _imports(f'{_wrapped(day.python())}.strftime("%A")')
        return DateQuestion("weekday", match.start(), match.end(), day.label, code, day.needs_today, (day,))


def _read(match: re.Match[str]) -> Day | None:
    groups = {name: value for name, value in match.groupdict().items() if value is not None}
    label = " ".join(match[0].split())
    for name in groups:
        if name in _AWAY:
            return Day(label, away=_AWAY[name])
        if name in _FIXED:
            return Day(label, None, *_FIXED[name])
    year = _count(groups["y"]) if "y" in groups else None
    if year is not None and "era" in groups:
        year += 1911
    if "a" in groups:
        return _read_numeric(label, int(groups["a"]), int(groups["b"]), year)
    month = _MONTHS.index(groups["month"][:3].lower()) + 1 if "month" in groups else _count(groups["m"])
    day = _count(groups["d"])
    if month is None or day is None or (year is None and not (1 <= month <= 12 and 1 <= day <= 31)):
        return None
    return Day(label, year, month, day)  # one that doesn't exist, such as 2031-02-30, is for Python to refuse


def _read_numeric(label: str, a: int, b: int, year: int | None) -> Day:
    """1/3/2031: the day first, as in most of the world, unless that is no date."""
    day, month = (a, b) if b <= 12 else (b, a)
    note = f"{year}-{month:02}-{day:02}" if a <= 12 and b <= 12 and a != b else ""
    return Day(label, year, month, day, note=note)


def _count(text: str) -> int | None:
    if text.lower() in ("a", "an"):
        return 1
    value = parse_number(text.replace(",", "") if text[:1].isdigit() else text)
    return int(value) if value is not None and value < 10**6 else None


def _unit(word: str) -> str:
    word = word.lower().lstrip("個个").removesuffix("s")
    units = {"日": "day", "天": "day", "週": "week", "周": "week", "星期": "week", "禮拜": "week", "礼拜": "week"}
    return (units | {"月": "month", "年": "year"}).get(word, word)


def _wrapped(code: str) -> str:
    return f"({code})" if code.startswith("today ") else code


def _imports(code: str) -> str:
    names = [name for name in ("date", "timedelta") if re.search(rf"\b{name}\(", code)]
    return f"from datetime import {', '.join(names)}\n{code}" if names else code


def _shift_days(start: str, days: int) -> str:
    return f"from datetime import date, timedelta\nday = {start} {'-' if days < 0 else '+'} timedelta(days={abs(days)})\n{_SHOW_DAY}"


def _shift_months(start: str, months: int) -> str:
    """The same day of another month, or that month's last day if it is shorter."""
    return (
        "from datetime import date, timedelta\n"
        f"start = {start}\n"
        f"months = start.year * 12 + start.month - 1 {'-' if months < 0 else '+'} {abs(months)}\n"
        "first = date(months // 12, months % 12 + 1, 1)\n"
        "last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)\n"
        f"day = first.replace(day=min(start.day, last.day))\n{_SHOW_DAY}"
    )


_SHOW_DAY = 'print(day, day.strftime("%A"))'
_SHIFT_CODE: dict[str, Callable[[str, int], str]] = {
    "day": _shift_days,
    "week": lambda start, weeks: _shift_days(start, 7 * weeks),
    "fortnight": lambda start, fortnights: _shift_days(start, 14 * fortnights),
    "month": _shift_months,
    "year": lambda start, years: _shift_months(start, 12 * years),
}


def _of(name: str, sign: int) -> Callable[[re.Match[str]], tuple[str | None, int]]:
    return lambda match: (match[name] if name else None, sign)


# Each with the position of its date ("" for today) and its direction.
_SHIFTS = [
    (re.compile(pattern, _WORDS), read)
    for pattern, read in (
        (rf"{_SPAN}\s*(?:after|from|past|since|following)\s+(?P<day>{_MARK})", _of("day", +1)),
        (rf"{_SPAN}\s*(?:before|prior to|ahead of|until)\s+(?P<day>{_MARK})", _of("day", -1)),
        (rf"\badd\s+{_SPAN}\s+to\s+(?P<day>{_MARK})", _of("day", +1)),
        (rf"\bsubtract\s+{_SPAN}\s+from\s+(?P<day>{_MARK})", _of("day", -1)),
        (rf"(?P<day>{_MARK})\s*(?:\+|plus)\s*{_SPAN}", _of("day", +1)),
        (rf"(?P<day>{_MARK})\s*(?:[-−–]|minus)\s*{_SPAN}", _of("day", -1)),
        (rf"(?P<day>{_MARK})\s*的?(?:往前|減去?|减去?)\s*{_SPAN}", _of("day", -1)),
        (rf"(?P<day>{_MARK})\s*(?:的\s*)?{_SPAN}\s*(?:之前|以前|前)", _of("day", -1)),
        (rf"(?P<day>{_MARK})\s*(?:之前|以前|前)的?\s*{_SPAN}", _of("day", -1)),
        (
            rf"(?P<day>{_MARK})\s*的?(?:之後|以後|之后|以后|後|后|起|開始|加上?|往後|往后|再過|再过|過|过)\s*(?:(?:的第?|第)\s*)?{_SPAN}(?:之後|以後|後|后)?",
            _of("day", +1),
        ),
        (rf"(?P<day>{_MARK})\s*(?:的\s*)?{_SPAN}\s*(?:之後|以後|之后|以后|後|后)", _of("day", +1)),
        (rf"{_SPAN}\s*(?:from now|hence|later)\b", _of("", +1)),
        (rf"(?<!days )(?<!weeks )(?<!months )\bin\s+{_SPAN}(?!\s*{_MARK})", _of("", +1)),
        (rf"{_SPAN}\s*(?:ago|earlier)\b", _of("", -1)),
        (rf"(?:(?:再過|再过)\s*)?{_SPAN}\s*(?:之後|以後|之后|以后|後|后)", _of("", +1)),
        (rf"{_SPAN}\s*(?:之前|以前|前)", _of("", -1)),
    )
]
_TODAY = Day(label="today", away=0)
_ONE = re.compile(rf"(?P<one>{_MARK})")
_TWO = re.compile(
    rf"(?P<one>{_MARK})\s*(?:and|to|until|till|through|[-–~]|到|至|和|與|与|跟|及|、|距離|距离)\s*(?P<two>{_MARK})",
    _WORDS,
)
_EDGE = re.compile(r"[,，;；?？。!！\n]|\band\b", _WORDS)
_LENGTH = re.compile(
    r"how (?:many|long|far)|\b(?:days|weeks)\b|\bbetween\b|difference|[幾几多][少]?[天日週周]|多久|幾個?星期|相隔|相差|距離|距离|天數",
    _WORDS,
)
_WEEKS = re.compile(r"\bweeks\b|幾週|几周|多少週|多少周|[幾几]個?(?:星期|禮拜)", _WORDS)
_SINCE = re.compile(r"\bsince\b|\bago\b|passed|至今|以來|以来|過了|过了|到現在", _WORDS)
_WEEKDAY = re.compile(
    r"week\s?day|(?:which|what) day|day of the week|day is|day was|星期|禮拜|礼拜|週|周[幾几]", _WORDS
)
_NOW = rf"(?:it\b|{_TODAY_MARK})"
_ASKS_TODAY = re.compile(
    rf"what time|time is it|current (?:time|date)|what(?:'s| is) (?:the )?(?:date|time)\s*(?:in [A-Z]|{_TODAY_MARK}|[?.!]|$)"
    rf"|(?:what|which) (?:date|(?:week)?day)(?: of the week)? is {_NOW}|{_TODAY_MARK}\s*'?s\s+date|what(?:'s| is) {_TODAY_MARK}"
    rf"|幾點|几点|{_TODAY_MARK}\s*的?(?:時間|时间|日期|是?(?:[幾几][號号月]|星期|禮拜|礼拜|週|周|什麼日子))",
    _WORDS,
)
