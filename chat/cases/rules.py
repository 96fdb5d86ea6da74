"""Whether rules can run at all: checked in the sandbox before a case is saved. Blocks: not within a transaction, nor on the event loop."""

from collections.abc import Sequence

from agents import check_rules
from chat.cases.commands import CaseFields
from chat.runs.admission import Refused


class BadRule(Refused):
    """A rule that can never judge."""

    def __init__(self, why: str) -> None:
        super().__init__("bad_frame", why)


def first_refusal(fields: Sequence[CaseFields]) -> tuple[int, str] | None:
    """The first of these whose rule cannot run: its index from 0, and why, with the rule's line."""
    found = check_rules([each.rule or "" for each in fields])
    return next(((at, why) for at, why in enumerate(found) if why), None)


def checked(fields: CaseFields) -> CaseFields:
    """The fields of a case, if its rule can run. Raises `Refused`."""
    # A rule that is too long is refused as such.
    fields.checked()
    if (refusal := first_refusal([fields])) is not None:
        raise BadRule(refusal[1])
    return fields
