"""Sums in everyday words: what is recognised, and that Python computes what people mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.demo.quantities import parse_number
from agents.models.demo.sums import find_sums
from agents.tools import CancelToken
from agents.tools.python import PythonTool


def computed(question: str) -> list[tuple[str, str]]:
    """The sums found, each as it was written and as the real tool computes it."""
    tool = PythonTool()
    return [
        (question[found.start : found.end], tool.call({"code": found.code}, CancelToken()))
        for found in find_sums(question)
    ]


@pytest.mark.parametrize(
    ("question", "sum_", "result"),
    [
        ("What is 17 % of 2,340?", "17 % of 2,340", "397.8"),
        ("what's 20% off 80?", "20% off 80", "64.0"),
        ("80 + 20%", "80 + 20%", "96.0"),
        ("80 increased by 20 %", "80 increased by 20 %", "96.0"),
        ("50% of 20% of 1000", "50% of 20% of 1000", "100.0"),
        ("30 is what percent of 120?", "30 is what percent of 120", "25.0"),
        ("what percentage of 120 is 30", "what percentage of 120 is 30", "25.0"),
        ("30 as a percentage of 120", "30 as a percentage of 120", "25.0"),
        ("2 + 3 * 4 - 5 / 2", "2 + 3 * 4 - 5 / 2", "11.5"),
        ("(2+3)*4^2", "(2+3)*4^2", "80"),
        ("100 - (30 - 20)", "100 - (30 - 20)", "90"),
        ("100 / (5 * 2)", "100 / (5 * 2)", "10.0"),
        ("2**3**2", "2**3**2", "512"),
        ("(-2)^2 please", "(-2)^2", "4"),
        ("-2^2", "-2^2", "-4"),
        ("2^-1", "2^-1", "0.5"),
        ("3 x 4", "3 x 4", "12"),
        ("3 × 4 ÷ 6 − 1", "3 × 4 ÷ 6 − 1", "1.0"),
        ("10 mod 3", "10 mod 3", "1"),
        ("what is seven times eight", "seven times eight", "56"),
        ("twenty-one plus one hundred and five", "twenty-one plus one hundred and five", "126"),
        ("12 divided by 4", "12 divided by 4", "3.0"),
        ("2 to the power of 10", "2 to the power of 10", "1024"),
        ("5 squared plus 2 cubed", "5 squared plus 2 cubed", "33"),
        ("What is the square root of 144 plus 9?", "square root of 144 plus 9", "21.0"),
        ("√16", "√16", "4.0"),
        ("cube root of 8", "cube root of 8", "2.0"),
        ("5 factorial", "5 factorial", "120"),
        ("5! + 1", "5! + 1", "121"),
        ("What is 5 + 5!", "5 + 5", "10"),
        ("half of 90", "half of 90", "45.0"),
        ("a third of 90 plus a quarter of 8", "a third of 90 plus a quarter of 8", "32.0"),
        ("double 21", "double 21", "42"),
        ("the sum of 3, 4, and 5", "sum of 3, 4, and 5", "12"),
        ("the sum of 1 to 1000", "sum of 1 to 1000", "500500"),
        ("sum of all numbers from 3 to 10", "sum of all numbers from 3 to 10", "52"),
        ("add 5 to 7", "add 5 to 7", "12"),
        ("subtract 5 from 7", "subtract 5 from 7", "2"),
        ("a 15% tip on $80", "15% tip on $80", "12.0"),
        ("average of 1,2,3,4", "average of 1,2,3,4", "2.5"),
        ("1.5 million / 3", "1.5 million / 3", "500000.0"),
        ("2 340 + 1", "2 340 + 1", "2341"),
        ("2'340 + 1", "2'340 + 1", "2341"),
        ("2.340,50 * 2", "2.340,50 * 2", "4681.0"),
        ("17,5 % of 200", "17,5 % of 200", "35.0"),
        ("$20 + $30", "$20 + $30", "50"),
        ("17 % 的 2340 是多少", "17 % 的 2340", "397.8"),
        ("2340 的 17 % 是多少", "2340 的 17 %", "397.8"),
        ("百分之十七的 2340", "百分之十七的 2340", "397.8"),
        ("三加五等於多少", "三加五", "8"),
        ("一百二十三 乘以 四", "一百二十三 乘以 四", "492"),
        ("12 萬 除以 3 減 一", "12 萬 除以 3 減 一", "39999.0"),
        ("二的十次方", "二的十次方", "1024"),
        ("16 的平方根", "16 的平方根", "4.0"),
        ("根號 16 加 5 的平方", "根號 16 加 5 的平方", "29.0"),
        ("5 的階乘", "5 的階乘", "120"),
        ("三分之一的 90", "三分之一的 90", "30.0"),
        ("30 是 120 的百分之幾", "30 是 120 的百分之幾", "25.0"),
        ("90 的一半", "90 的一半", "45.0"),
        ("請算3plus五", "3plus五", "8"),
    ],
)
def test_sums_are_understood(question: str, sum_: str, result: str) -> None:
    assert computed(question) == [(sum_, result)]


def test_several_in_one_sentence() -> None:
    assert computed("what is 1 + 1 and 2 * 3, and 10 / 4?") == [("1 + 1", "2"), ("2 * 3", "6"), ("10 / 4", "2.5")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello, how are you?",
        "I have 3 cats and 2 dogs.",
        "version 3.11 is out",
        "python3",
        "42",
        "17 %",
        "+",
        "(((",
        "1 +",
        "of 5",
        "三個人",
    ],
)
def test_other_text_is_no_sum(text: str) -> None:
    assert find_sums(text) == []


def test_a_share_is_known_to_be_a_percentage() -> None:
    assert [found.is_share for found in find_sums("30 is what percent of 120, and 1 + 1")] == [True, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2,340.5", "2340.5"),
        ("１", None),
        ("seven", "7"),
        ("two hundred and five", "205"),
        ("一百零五", "105"),
        ("二〇三一", "2031"),
        ("x", None),
        ("十", "10"),
        ("12,34", "12.34"),
    ],
)
def test_numbers(text: str, value: str | None) -> None:
    read = parse_number(text)
    assert (None if read is None else str(read)) == value


@given(st.text(st.sampled_from(list("0123456789+-*/^%().,! xofea百分之的二十加√平方根是")), max_size=60))
def test_any_text_gives_sums_that_are_python_and_nothing_else(text: str) -> None:
    for found in find_sums(text):
        compile(found.code, "<sum>", "exec")
        names = set(compile(found.code.split("\n")[-1], "<sum>", "eval").co_names)
        assert names <= {"math", "sqrt", "factorial", "sum"}


_OPERATORS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


@given(st.lists(st.integers(1, 99), min_size=2, max_size=6), st.data())
def test_words_and_signs_mean_the_same(numbers: list[int], data: st.DataObject) -> None:
    signs = [data.draw(st.sampled_from(list(_OPERATORS))) for _ in numbers[1:]]
    in_signs = f"{numbers[0]}" + "".join(f" {sign} {n}" for sign, n in zip(signs, numbers[1:], strict=True))
    in_words = f"{numbers[0]}" + "".join(f" {_OPERATORS[sign]} {n}" for sign, n in zip(signs, numbers[1:], strict=True))
    assert [found.code for found in find_sums(in_words)] == [found.code for found in find_sums(in_signs)] == [in_signs]
