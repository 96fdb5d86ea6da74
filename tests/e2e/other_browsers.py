"""What Firefox and WebKit have in common here: a page with those of Playwright's methods that their tests use.

Playwright has its own builds of both; here they are the ones that people use, driven by the standard protocols of browsers.
"""

import abc
import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

#: The characters that the protocols have for keys without a character of their own.
_KEYS = {
    "PageUp": "\ue00e",
    "PageDown": "\ue00f",
    "End": "\ue010",
    "Home": "\ue011",
    "ArrowUp": "\ue013",
    "Shift": "\ue008",
    "Enter": "\ue007",
    "Space": " ",
}
#: The buttons of a mouse.
_BUTTONS = {"left": 0, "middle": 1}
_WAIT_S = 20
_UNTIL = """async (arg) => {{
  while (!(await ({function})(arg))) await new Promise((again) => setTimeout(again, 20));
}}"""


class Page(abc.ABC):
    """The only page of a browser."""

    def __init__(self) -> None:
        self.mouse = _Mouse(self.act)
        self.keyboard = _Keyboard(self.act)

    @abc.abstractmethod
    async def add_cookie(self, name: str, value: str, address: str) -> None:
        """Give it a cookie of the site at an address."""

    @abc.abstractmethod
    async def set_size(self, width: int, height: int) -> None:
        """Set the page's width, and at least roughly its height."""

    @abc.abstractmethod
    async def goto(self, address: str) -> None:
        """Open an address, and wait until it is loaded."""

    @abc.abstractmethod
    async def evaluate(self, function: str, arg: Any = None) -> Any:
        """Call a function in the page."""

    @abc.abstractmethod
    async def act(self, kind: str, *actions: dict[str, Any], **more: Any) -> None:
        """Perform actions of an input device."""

    @abc.abstractmethod
    async def take_errors(self) -> list[str]:
        """Everything that scripts of its pages have thrown since the last call, and nobody has caught."""

    async def wait_for_function(self, function: str, arg: Any = None) -> None:
        """Wait until a function returns true."""
        async with asyncio.timeout(_WAIT_S):
            await self.evaluate(_UNTIL.format(function=function), arg)

    async def wait_for_path(self, path: str) -> None:
        """Wait until a page whose path is of this pattern is loaded."""
        for _ in range(_WAIT_S * 20):
            if re.fullmatch(path, await self._loaded_path()):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(path)

    async def _loaded_path(self) -> str:
        # A call into a page that is being left is answered by an error.
        with contextlib.suppress(AssertionError):
            return str(await self.evaluate("() => document.readyState === 'complete' ? location.pathname : ''"))
        return ""

    def locator(self, selector: str) -> "_Locator":
        """The first element of a selector."""
        return _Locator(self, selector)


class _Locator:
    def __init__(self, page: Page, selector: str) -> None:
        self._page = page
        self._selector = selector

    async def bounding_box(self) -> dict[str, float]:
        box = await self._page.evaluate(
            "(selector) => { const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();"
            " return { x, y, width, height } }",
            self._selector,
        )
        return dict(box)

    async def focus(self) -> None:
        await self._page.evaluate("(selector) => document.querySelector(selector).focus()", self._selector)

    async def click(self) -> None:
        box = await self.bounding_box()
        await self._page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


class _Mouse:
    def __init__(self, act: Callable[..., Awaitable[None]]) -> None:
        self._perform = act
        self._at = (0, 0)

    async def _act(self, *actions: dict[str, Any]) -> None:
        await self._perform("pointer", *actions, parameters={"pointerType": "mouse"})

    async def move(self, x: float, y: float, *, steps: int = 1) -> None:
        begin, self._at = self._at, (round(x), round(y))
        for step in range(1, steps + 1):
            x, y = (round(a + (b - a) * step / steps) for a, b in zip(begin, self._at, strict=True))
            await self._act({"type": "pointerMove", "x": x, "y": y})

    async def down(self, *, button: str = "left") -> None:
        await self._act({"type": "pointerDown", "button": _BUTTONS[button]})

    async def up(self, *, button: str = "left") -> None:
        await self._act({"type": "pointerUp", "button": _BUTTONS[button]})

    async def click(self, x: float, y: float) -> None:
        await self.move(x, y)
        await self.down()
        await self.up()

    async def wheel(self, by_x: float, by_y: float) -> None:
        x, y = self._at
        await self._perform("wheel", {"type": "scroll", "x": x, "y": y, "deltaX": round(by_x), "deltaY": round(by_y)})


class _Keyboard:
    def __init__(self, act: Callable[..., Awaitable[None]]) -> None:
        self._act = act

    async def press(self, keys: str) -> None:
        held = [_KEYS[name] for name in keys.split("+")]
        down = [{"type": "keyDown", "value": key} for key in held]
        await self._act("key", *down, *[{"type": "keyUp", "value": key} for key in reversed(held)])

    async def type(self, text: str) -> None:
        await self._act("key", *[{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")])
