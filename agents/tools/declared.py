"""How a tool or an agent of an extension declares what the operator has to set: settings and secrets, each in an environment variable."""

import os
from typing import Any, overload

from agents.tools.tool import ToolError

_FROM = "env:"
#: Shorter values are not hidden: they would be found within ordinary words.
_SHORTEST_SECRET = 6


class Setting:
    """A value that the operator sets. It is declared as a class attribute, and read on the instance.

    ``units = Setting("env:WEATHER_UNITS", "metric")`` declares it; ``self.units`` is that variable's value, else the default. A setting
    without a default is required: until it is set, the tool is not offered, and agents and operators are told why.
    """

    is_secret = False

    def __init__(self, source: str, default: str | None = None) -> None:
        if not source.startswith(_FROM) or not source.removeprefix(_FROM).isidentifier():
            raise ValueError(f"a setting is read from “env:NAME”, not from “{source[:80]}”")
        self.variable = source.removeprefix(_FROM)
        self.default = default

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting": ...
    @overload
    def __get__(self, instance: object, owner: type) -> str: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting | str":
        if instance is None:
            return self
        value = self.value
        if value is None:
            raise ToolError(f"The setting {self.variable} is not set.")
        return value

    @property
    def value(self) -> str | None:
        """The current value; ``None`` if it is not set and has no default."""
        return os.environ.get(self.variable) or self.default


class Secret(Setting):
    """A secret setting: it has no default, and its value is removed from what the tool returns or raises."""

    is_secret = True

    def __init__(self, source: str) -> None:
        super().__init__(source)


def declared_by(owner: type) -> tuple[Setting, ...]:
    """The settings and secrets that a class and its base classes declare."""
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__):
        found |= vars(each)
    return tuple(value for value in found.values() if isinstance(value, Setting))


def unset_in(settings: tuple[Setting, ...]) -> list[str]:
    """The names of required variables that are not set."""
    return [setting.variable for setting in settings if setting.value is None]


def hide_secrets(text: str, settings: tuple[Setting, ...]) -> str:
    """The text with the values of the secrets among ``settings`` removed."""
    for setting in settings:
        value = setting.value if setting.is_secret else None
        if value and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "…")
    return text
