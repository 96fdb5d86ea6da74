"""Full-text search over what was asked, thought, called, returned and answered."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chat.models import Session, Step


def index(steps: Sequence[Step], full_contents: Sequence[str | None]) -> None:
    """Make stored steps findable; called in the transaction that stores them."""


def matching(sessions: QuerySet[Session], user: User, text: str) -> QuerySet[Session]:
    """Those of the sessions in which the user's own words occur."""
    return sessions.filter(title__icontains=text)
