"""Finds sums in a question, in English or Chinese, and writes them as Python. Computes nothing itself."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from agents.models.demo.quantities import match_number

# ASCII, so that an English word ends where a Chinese one begins.
_WORDS = re.IGNORECASE | re.ASCII
#: Deeper nesting is not a real question.
_DEEPEST = 25

# Longer ones first: of those with the same beginning, the first that matches is used.
_TOKENS: Sequence[tuple[str, re.Pattern[str]]] = [
    (kind, re.compile(pattern, _WORDS))
    for kind, pattern in (
        ("skip", r"\s+|[$€£¥]|NT\$|\bthe\b"),
        (
            "whatpct",
            r"(?:is )?what (?:percent(?:age)?|per cent|%)(?: of)?\b|as an? percent(?:age)? of\b|的?百分之[幾几多]少?",
        ),
        ("is", r"is\b|是"),
        ("sum", r"(?:sum|total) of\b(?:\s+all)?(?:\s+(?:whole\s+)?(?:numbers|integers))?(?:\s+from)?"),
        ("average", r"(?:average|mean) of\b"),
        ("add", r"add\b"),
        ("subtract", r"subtract\b"),
        ("half", r"half(?: of)?\b"),
        ("third", r"an? third of\b"),
        ("quarter", r"an? quarter of\b"),
        ("double", r"(?:double|twice)\b"),
        ("factorial", r"factorial of\b"),
        ("root", r"square root(?: of)?\b|sqrt(?: of)?\b|√|根號|根号|開根號|开根号"),
        ("cube root", r"cube root(?: of)?\b"),
        ("his root", r"的\s*平方根"),
        ("his cube root", r"的\s*立方根"),
        ("his half", r"的?\s*一半"),
        ("squared", r"squared\b|²|的?\s*平方"),
        ("cubed", r"cubed\b|³|的?\s*立方"),
        ("!", r"factorial\b|的?\s*階乘|的?\s*阶乘|!(?=\s*[-+*/^)%×÷])"),
        ("prefix%", r"百分之"),
        ("fraction", r"分之"),
        ("^", r"\*\*|\^|(?:raised )?to the power(?: of)?\b"),
        ("次方", r"次方"),
        ("to", r"(?:up )?to\b|through\b|[到至]"),
        ("from", r"from\b"),
        ("+", r"\+|plus\b|(?:increased|raised) by\b|加上?"),
        ("-", r"[-−–—]|minus\b|less\b|(?:decreased|reduced) by\b|減去?|减去?"),
        ("*", r"[*×·⋅✕]|times\b|multiplied by\b|x(?=\s*[\d(.])|乘以?|乘上"),
        ("/", r"[/÷∕⁄]|divided by\b|over\b|除以"),
        ("mod", r"mod(?:ulo)?\b"),
        ("%", r"%|percent\b|per cent\b"),
        ("off", r"off\b"),
        ("of", r"(?:(?:tip|tax|vat|interest|discount) )?(?:of|on)\b|的"),
        ("(", r"[(\[]"),
        (")", r"[)\]]"),
        (",", r",|and\b|和|與|、"),
    )
]


class Token(NamedTuple):
    """A word or sign of a sum, and its position."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum that was found: as it was asked, and as Python."""

    start: int
    end: int
    code: str
    is_share: bool = False
    """Whether the result is a percentage."""


class _Node(NamedTuple):
    """A piece of Python: its text, its precedence, and how much it computes."""

    code: str
    binds: int
    work: int
    percent: bool = False


_ADD, _MULTIPLY, _NEGATE, _POWER, _ATOM = 1, 2, 3, 4, 5


def find_sums(text: str) -> list[Sum]:
    """All sums in the text, in order. A number alone is not a sum."""
    tokens = list(_tokens(text))
    found: list[Sum] = []
    at = 0
    while at < len(tokens):
        parser = _Parser(tokens, at)
        node = parser.question()
        if node is not None and node.work:
            found.append(
                Sum(
                    _with_currency(text, tokens[at].start),
                    tokens[parser.at - 1].end,
                    _with_imports(node.code),
                    parser.is_share,
                )
            )
            at = parser.at
        else:
            at += 1
    return found


def _with_currency(text: str, start: int) -> int:
    return start - 1 if start and text[start - 1] in "$€£¥" else start


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        token = _number_token(text, at) or _sign_token(text, at)
        if token.kind != "skip":
            yield token
        at = token.end


def _number_token(text: str, at: int) -> Token | None:
    # A part of a word, of a version or of a name is not a number.
    if at and (text[at - 1].isascii() and text[at - 1].isalpha()) and text[at : at + 1].isascii():
        return None
    found = match_number(text, at)
    return Token("number", _python(found[0]), at, found[1]) if found else None


def _sign_token(text: str, at: int) -> Token:
    for kind, pattern in _TOKENS:
        found = pattern.match(text, at)
        # Words begin where words begin.
        if found and not (
            text[at].isalpha() and text[at].isascii() and at and text[at - 1].isalpha() and text[at - 1].isascii()
        ):
            return Token(kind, found[0], at, found.end())
    return Token("other", text[at], at, at + 1)


def _python(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else format(value, "f")


def _with_imports(code: str) -> str:
    return f"import math\n{code}" if "math." in code else code


class _Parser:
    """Parses one sum from ``tokens[at:]``, as far as it goes. Each method returns ``None`` if there is none."""

    def __init__(self, tokens: Sequence[Token], at: int) -> None:
        self._tokens = tokens
        self.at = at
        self._depth = 0
        self.is_share = False

    def question(self) -> _Node | None:
        """A sum, or two sums and the question what share one is of the other."""
        if self._peek() == "whatpct":
            return self._attempt(self._share_of_first)
        first = self._sum()
        if first is None:
            return None
        end = self.at
        if self._accept("whatpct") and (second := self._sum()):
            return self._share(first, second)
        self.at = end
        # 「30 是 120 的百分之幾」
        if self._accept("is") and (second := self._sum()) and self._accept("whatpct"):
            return self._share(first, second)
        self.at = end
        return first

    def _share_of_first(self) -> _Node | None:
        self.at += 1
        whole = self._sum()
        part = self._sum() if whole and self._accept("is") else None
        return self._share(part, whole) if part and whole else None

    def _share(self, part: _Node, whole: _Node) -> _Node:
        self.is_share = True
        return _Node(f"{_wrap(part, _MULTIPLY)} / {_wrap(whole, _NEGATE)} * 100", _MULTIPLY, part.work + whole.work + 1)

    def _peek(self) -> str:
        return self._tokens[self.at].kind if self.at < len(self._tokens) else ""

    def _accept(self, kind: str) -> bool:
        is_next = self._peek() == kind
        self.at += is_next
        return is_next

    def _attempt(self, read: Callable[[], _Node | None]) -> _Node | None:
        """The result of ``read``; if it finds nothing, no token is consumed."""
        start = self.at
        node = read()
        if node is None:
            self.at = start
        return node

    def _sum(self) -> _Node | None:
        node = self._product()
        while node and self._peek() in ("+", "-"):
            sign = self._peek()
            right = self._attempt(self._right_product)
            if right is None:
                break
            if right.percent and not node.percent:  # 80 + 20 % is 96, as on every calculator
                node = _times(node, _binary("1", sign, right))
            else:
                node = _Node(f"{_wrap(node, _ADD)} {sign} {_wrap(right, _MULTIPLY)}", _ADD, node.work + right.work + 1)
        return node

    def _right_product(self) -> _Node | None:
        self.at += 1
        return self._product()

    def _product(self) -> _Node | None:
        node = self._factor()
        while node and self._peek() in ("*", "/", "mod", "fraction"):
            sign = self._peek()
            right = self._attempt(self._right_factor)
            if right is None:
                break
            if sign == "fraction":  # 三分之一: the lower part comes first
                node, right, sign = right, node, "/"
            python = "%" if sign == "mod" else sign
            work = node.work + right.work + 1
            node = _Node(f"{_wrap(node, _MULTIPLY)} {python} {_wrap(right, _NEGATE)}", _MULTIPLY, work)
            if self._peek() == "of" and (whole := self._attempt(self._right_factor)):  # 三分之一的 90
                node = _times(node, whole)
        return node

    def _right_factor(self) -> _Node | None:
        self.at += 1
        return self._factor()

    def _factor(self) -> _Node | None:
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                return None
            if self._accept("-"):
                inner = self._factor()
                return inner and _Node(f"-{_wrap(inner, _NEGATE)}", _NEGATE, inner.work)
            return self._power()
        finally:
            self._depth -= 1

    def _power(self) -> _Node | None:
        node = self._with_endings()
        if node and self._peek() == "^":
            exponent = self._attempt(self._right_factor)
            if exponent:
                return _power(node, _wrap(exponent, _NEGATE), exponent.work)
        return node

    def _with_endings(self) -> _Node | None:
        node = self._atom()
        while node is not None:
            following = self._attempt(lambda node=node: self._ending(node))  # type: ignore[misc]
            if following is None:
                return node
            node = following
        return None

    def _ending(self, node: _Node) -> _Node | None:
        """What may follow a number: ``%``, ``squared``, ``of 80``."""
        kind = self._peek()
        self.at += 1
        if kind in _ENDINGS:
            return _ENDINGS[kind](node)
        if kind == "%":
            return _Node(f"{_wrap(node, _MULTIPLY)} / 100", _MULTIPLY, node.work, percent=True)
        if kind == "of":
            return self._of(node)
        if kind == "off" and node.percent:
            whole = self._factor()
            return whole and _times(whole, _binary("1", "-", node))
        return None

    def _of(self, node: _Node) -> _Node | None:
        right = self._factor_or_percent()
        if right is None:
            return None
        if self._accept("次方"):  # 2 的 10 次方
            return _power(node, _wrap(right, _NEGATE), right.work)
        # 17 % of 80, 80 的 17 %
        return _times(node, right) if node.percent or right.percent else None

    def _factor_or_percent(self) -> _Node | None:
        if self._accept("prefix%"):
            inner = self._atom()
            return inner and _Node(f"{_wrap(inner, _MULTIPLY)} / 100", _MULTIPLY, inner.work, percent=True)
        return self._factor()

    def _atom(self) -> _Node | None:
        self._depth += 1
        try:
            if self._depth > _DEEPEST or self.at >= len(self._tokens):
                return None
            token = self._tokens[self.at]
            self.at += 1
            if token.kind == "number":
                return _Node(token.text, _ATOM, 0)
            if token.kind == "(":
                inner = self._sum()
                return inner if self._accept(")") else None  # parentheses come back where they are needed
            if token.kind in ("sum", "average"):
                return self._list(token.kind)
            if token.kind in ("add", "subtract"):
                return self._instructed(token.kind)
            if token.kind == "prefix%":
                self.at -= 1
                return self._factor_or_percent()
            if token.kind in _BEGINNINGS:
                inner = self._factor()
                return _BEGINNINGS[token.kind](inner) if inner else None
            return None
        finally:
            self._depth -= 1

    def _list(self, kind: str) -> _Node | None:
        items = [self._product()]
        if (
            kind == "sum"
            and items[0] is not None
            and self._peek() == "to"
            and (last := self._attempt(self._right_product))
        ):
            return _Node(f"sum(range({items[0].code}, {_wrap(last, _ADD)} + 1))", _ATOM, 1)
        while items[-1] is not None and self._peek() == ",":
            end = self.at
            while self._accept(","):  # "3, 4, and 5"
                pass
            item = self._product()
            if item is None:
                self.at = end
                break
            items.append(item)
        if items[-1] is None or len(items) < 2:
            return None
        listed = ", ".join(item.code for item in items if item)
        code = f"sum([{listed}])" if kind == "sum" else f"sum([{listed}]) / {len(items)}"
        return _Node(code, _ATOM if kind == "sum" else _MULTIPLY, 1)

    def _instructed(self, kind: str) -> _Node | None:
        """The operation in “add 5 to 7” and “subtract 5 from 7”."""
        what = self._product()
        if what is None or not self._accept("to" if kind == "add" else "from"):
            return None
        whole = self._product()
        return whole and _Node(
            f"{_wrap(whole, _ADD)} {'+' if kind == 'add' else '-'} {_wrap(what, _MULTIPLY)}",
            _ADD,
            what.work + whole.work + 1,
        )


def _wrap(node: _Node, binds: int) -> str:
    return node.code if node.binds >= binds else f"({node.code})"


def _times(left: _Node, right: _Node) -> _Node:
    return _Node(f"{_wrap(left, _MULTIPLY)} * {_wrap(right, _NEGATE)}", _MULTIPLY, left.work + right.work + 1)


def _binary(left: str, sign: str, right: _Node) -> _Node:
    return _Node(f"{left} {sign} {_wrap(right, _MULTIPLY)}", _ADD, right.work)


def _power(node: _Node, exponent: str, more_work: int = 0) -> _Node:
    return _Node(f"{_wrap(node, _ATOM)} ** {exponent}", _POWER, node.work + more_work + 1)


def _call(function: str, node: _Node) -> _Node:
    return _Node(f"{function}({node.code})", _ATOM, node.work + 1)


def _divided(node: _Node, by: int) -> _Node:
    return _Node(f"{_wrap(node, _MULTIPLY)} / {by}", _MULTIPLY, node.work + 1)


def _cube_root(node: _Node) -> _Node:
    return _power(node, "(1 / 3)")


_BEGINNINGS: dict[str, Callable[[_Node], _Node]] = {
    "half": lambda node: _divided(node, 2),
    "third": lambda node: _divided(node, 3),
    "quarter": lambda node: _divided(node, 4),
    "double": lambda node: _times(node, _Node("2", _ATOM, 0)),
    "root": lambda node: _call("math.sqrt", node),
    "cube root": _cube_root,
    "factorial": lambda node: _call("math.factorial", node),
}
_ENDINGS: dict[str, Callable[[_Node], _Node]] = {
    "squared": lambda node: _power(node, "2"),
    "cubed": lambda node: _power(node, "3"),
    "!": lambda node: _call("math.factorial", node),
    "his root": lambda node: _call("math.sqrt", node),
    "his cube root": _cube_root,
    "his half": lambda node: _divided(node, 2),
}
