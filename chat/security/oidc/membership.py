"""Applies the provider's claims to an account: whether it may log in, its groups, whether it is staff. Nothing else."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction

from chat.accounts.models import User


def claimed_groups(claims: Mapping[str, Any]) -> set[str]:
    """The values of the groups' claim, which may be nested: ``realm_access.roles``."""
    found: Any = claims
    if settings.OIDC_GROUPS_CLAIM in claims:
        found = claims[settings.OIDC_GROUPS_CLAIM]
    else:
        for name in settings.OIDC_GROUPS_CLAIM.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    values = [found] if isinstance(found, str) else found
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()


def may_enter(claims: Mapping[str, Any]) -> bool:
    """Whether a rule lets a user with these claims log in."""
    return not settings.OIDC_ALLOWED_GROUPS or not claimed_groups(claims).isdisjoint(settings.OIDC_ALLOWED_GROUPS)


@transaction.atomic
def apply_claims(user: User, claims: Mapping[str, Any]) -> bool:
    """Set an account's groups and staff status from its claims; groups that no rule names stay. Returns whether anything has changed."""
    claimed = claimed_groups(claims)
    named = set(settings.OIDC_GROUPS.values())
    due = {group for value, group in settings.OIDC_GROUPS.items() if value in claimed}
    has = set(user.groups.filter(name__in=named).values_list("name", flat=True))
    for name in due - has:
        user.groups.add(Group.objects.get_or_create(name=name)[0])
    if has - due:
        user.groups.remove(*Group.objects.filter(name__in=has - due))
    is_staff = not claimed.isdisjoint(settings.OIDC_STAFF_GROUPS)
    is_new = due != has or is_staff != user.is_staff
    if is_staff != user.is_staff:
        User.objects.filter(pk=user.pk).update(is_staff=is_staff)
        user.is_staff = is_staff
    return is_new
