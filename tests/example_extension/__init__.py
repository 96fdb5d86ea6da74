"""An extension as others write them, with one of each kind. What it declares is what agents, pages and operators see of it."""

from tests.example_extension.poet import Poet
from tests.example_extension.roll_dice import RollDice
from tests.example_extension.weather import Weather

__all__ = ["Poet", "RollDice", "Weather"]
