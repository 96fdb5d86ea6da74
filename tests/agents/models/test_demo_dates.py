"""Questions about dates in everyday words: what is recognised, and what the real tool computes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.demo.asks import parse_asks
from agents.models.demo.dates import find_dates
from agents.tools import CancelToken
from agents.tools.python import PythonTool

TODAY = "date(2026, 11, 22)"
MARCH_1 = [
    "2031-03-01",
    "2031/3/1",
    "2031.03.01",
    "1 March 2031",
    "1st of March 2031",
    "01 Mar 2031",
    "March 1, 2031",
    "March 1st 2031",
    "Mar. 1 2031",
    "1/3/2031",
    "1.3.2031",
    "2031年3月1日",
    "2031 年 3 月 1 號",
    "二〇三一年三月一日",
    "民國120年3月1日",
]


def computed(question: str) -> list[str]:
    """What the real tool returns for each question about a date, with the 22nd of November 2026 as today."""
    tool = PythonTool()
    asks = [ask for ask in parse_asks(question) if ask.tool == "python"]
    return [tool.call(ask.arguments(TODAY), CancelToken()).strip("'") for ask in asks]


@pytest.mark.parametrize("date", MARCH_1)
def test_a_date_is_the_same_however_it_is_written(date: str) -> None:
    assert computed(f"which weekday is {date}?") == ["Saturday"]
    assert computed(f"{date} 是星期幾？") == ["Saturday"]


@pytest.mark.parametrize("date", MARCH_1)
@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("What date is 45 days after {}?", "2031-04-15 Tuesday"),
        ("{} plus 6 weeks", "2031-04-12 Saturday"),
        ("3 weeks before {}", "2031-02-08 Saturday"),
        ("add 10 days to {}", "2031-03-11 Tuesday"),
        ("{} 之後 45 天是幾號", "2031-04-15 Tuesday"),
        ("{}加 45 天", "2031-04-15 Tuesday"),
        ("{}的 45 天後", "2031-04-15 Tuesday"),
        ("{}的三週前", "2031-02-08 Saturday"),
        ("How many days are there between {} and 2031-12-25?", "299"),
        ("how many days from {} to 25 December 2031", "299"),
        ("{} 到 2031-12-25 有幾天", "299"),
        ("how many weeks between {} and 2031-03-20", "(2, 5)"),
        ("how many days until {}?", "1560"),
        ("距離{}還有幾天", "1560"),
    ],
)
def test_questions_about_dates_are_understood(question: str, result: str, date: str) -> None:
    assert computed(question.format(date)) == [result]


@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("one month after 2031-01-31", "2031-02-28 Friday"),
        ("2 years before 2024-02-29", "2022-02-28 Monday"),
        ("2031-01-31 minus 11 months", "2030-02-28 Thursday"),
        ("what is the date 100 days from today?", "2027-03-02 Tuesday"),
        ("three weeks from today", "2026-12-13 Sunday"),
        ("what date is it in 30 days?", "2026-12-22 Tuesday"),
        ("10 days ago", "2026-11-12 Thursday"),
        ("45 天後是幾號", "2027-01-06 Wednesday"),
        ("兩週前是幾月幾日", "2026-11-08 Sunday"),
        ("今天起 100 天後", "2027-03-02 Tuesday"),
        ("which day is tomorrow?", "Monday"),
        ("明天星期幾", "Monday"),
        ("What day of the week was yesterday?", "Saturday"),
        ("How many days until Christmas?", "33"),
        ("How many days until New Year's Day?", "40"),
        ("距離聖誕節還有幾天", "33"),
        ("how many days since 2000-01-01", "9822"),
        ("How long ago was 1 January 2000?", "9822"),
        ("How many days from today to 2031-03-01?", "1560"),
        ("what day is 13/2/2031", "Thursday"),
        ("what day is 2/13/2031", "Thursday"),
        ("May 5 is what weekday?", "Tuesday"),
        ("What day of the week was 20 July 1969?", "Sunday"),
    ],
)
def test_further_questions(question: str, result: str) -> None:
    assert computed(question)[:1] == [result]


def test_two_questions_in_a_sentence_keep_apart() -> None:
    question = "How many days until 2027-01-01, and which weekday is 2031-03-01?"
    assert computed(question) == ["40", "Saturday"]
    assert computed("2031-03-01 是星期幾，到 2027-01-01 還有幾天") == ["Saturday", "40"]
    assert computed("2031-03-01 and 2031-03-02: which weekdays?") == ["Saturday", "Sunday"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "see you tomorrow",
        "How are you today?",
        "100 - 30",
        "may I ask",
        "see you in May",
        "March on!",
        "3.11.2",
        "10:30",
    ],
)
def test_other_questions_are_not_about_dates(text: str) -> None:
    questions, rest, now = find_dates(text)
    assert questions == []
    assert now is None
    assert len(rest) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "what time is it?",
        "What's the time?",
        "What time is it in Tokyo?",
        "what day is today",
        "What is today's date?",
        "which day is it",
        "What is the date?",
        "今天是星期幾",
        "現在幾點",
        "今天幾號",
        "現在時間",
    ],
)
def test_asking_for_today(text: str) -> None:
    questions, _, now = find_dates(text)
    assert questions == []
    assert now is not None


def test_a_question_about_another_day_is_not_about_today() -> None:
    assert find_dates("What is the date 45 days after 2031-03-01?")[2] is None
    assert find_dates("What day is 2031-03-01?")[2] is None


def test_labels_are_as_people_wrote_them() -> None:
    questions, _, _ = find_dates("From 1 March 2031 to Christmas: how many days? 45 days after 2031-03-01?")
    assert [question.label for question in questions] == ["1 March 2031 to Christmas", "45 days after 2031-03-01"]


@given(st.text(st.sampled_from(list("0123456789-/. dayweksmonthfrtiluMcCjn年月日天後前今三週號,?\n")), max_size=80))
def test_any_text_gives_python_and_nothing_else(text: str) -> None:
    for question in find_dates(text)[0]:
        names = set(compile(question.code, "<date>", "exec").co_names)
        allowed = {
            "datetime",
            "date",
            "timedelta",
            "today",
            "days",
            "strftime",
            "divmod",
            "print",
            "day",
            "start",
            "months",
            "first",
            "last",
        }
        assert names <= allowed | {"year", "month", "replace", "min"}
