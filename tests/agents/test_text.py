"""Text made storable, measured and cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.text import clean_text, estimate_tokens, from_utf16, json_object, utf16_cut, utf16_length

ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT)
def test_clean_text_can_be_stored_and_stays_clean(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert clean_text(cleaned) == cleaned


def test_only_what_cannot_be_stored_is_replaced() -> None:
    assert clean_text("a\x00b\ud800c\udc00d\ud83d\ude00") == "a\ufffdb\ufffdc\ufffdd😀"
    assert clean_text("天氣 😀 \t\n") == "天氣 😀 \t\n"


@given(st.text(), st.integers(0, 40))
def test_a_cut_keeps_as_much_as_fits_of_whole_characters(text: str, limit: int) -> None:
    cut = utf16_cut(text, limit)
    assert text.startswith(cut)
    assert utf16_length(cut) <= limit
    if cut != text:
        assert utf16_length(cut) >= limit - 1


@given(st.text())
def test_length_counts_utf16_units(text: str) -> None:
    assert utf16_length(text) == sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def test_tokens_are_estimated_with_an_eye_to_the_script() -> None:
    assert estimate_tokens("a" * 400) == 101
    assert estimate_tokens("天" * 400) == 401


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"a": [1, "x"]}', {"a": [1, "x"]}),
        ("", {}),
        (" \n", {}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ("[1]", None),
        ("nonsense", None),
        ('{"a": NaN}', None),
        ('{"a": 99999999999999999999}', None),
        ("[" * 100_000, None),
    ],
)
def test_arguments_are_read_as_an_object_or_not_at_all(raw: str, expected: object) -> None:
    assert json_object(raw, None) == expected


def test_arguments_hold_clean_text() -> None:
    value = json_object(r'{"a\u0000": ["\udc00"]}', None)
    assert json.dumps(value, ensure_ascii=False).encode()
    assert value == {"a\ufffd": ["\ufffd"]}


@given(st.text(max_size=80), st.data())
def test_offsets_count_as_javascript_does(text: str, data: st.DataObject) -> None:
    units = len(text.encode("utf-16-le")) // 2
    assert utf16_length(text) == units
    cut = data.draw(st.integers(0, len(text)))
    assert from_utf16(text, utf16_length(text[:cut])) == text[cut:]
