"""Whether rules can judge at all: asked of the sandbox before a case is kept, so not within a transaction, and not on the loop."""

from collections.abc import Sequence

from agents import check_rules
from chat.cases.commands import CaseFields
from chat.runs.admission import Refused


class BadRule(Refused):
    """A rule that can never judge."""

    def __init__(self, why: str) -> None:
        super().__init__("bad_frame", why)


def first_refusal(fields: Sequence[CaseFields]) -> tuple[int, str] | None:
    """The first of these whose rule cannot run, counted from 0, and why in words with the rule's line."""
    found = check_rules([each.rule or "" for each in fields])
    return next(((at, why) for at, why in enumerate(found) if why), None)


def checked(fields: CaseFields) -> CaseFields:
    """What is said of a case, if its rule can run. Raises `Refused`."""
    # What is too long is told so by itself.
    fields.checked()
    if (refusal := first_refusal([fields])) is not None:
        raise BadRule(refusal[1])
    return fields
