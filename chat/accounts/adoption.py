"""Takes over databases of versions whose accounts were ``auth.User``: their rows become those of ``accounts.User``.

The table stays as it is, and with it every account, login, group and foreign key. Only Django's own records are written: that the
first migration of this application is applied, and which application the content type of accounts, and so their permissions, belongs to.
"""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import QuerySet

from chat.accounts.models import User

_FIRST = ("accounts", "0001_initial")
#: The last migration that gave ``auth.User`` a column or changed one.
_AUTH = ("auth", "0012_alter_user_first_name_max_length")


class UnfinishedMigrations(Exception):
    """The earlier version's migrations were not completed; the message is for people."""


def adopt_accounts(alias: str) -> None:
    """Make the accounts of a database those of this application. Does nothing if they already are, or if there are no accounts.

    To be called before Django compares the applied migrations with their dependencies: migrations of other applications depend on the
    application of the user model. Raises `UnfinishedMigrations`.
    """
    connection = connections[alias]
    recorder = MigrationRecorder(connection)
    applied = recorder.applied_migrations()
    if User._meta.db_table not in connection.introspection.table_names():
        return
    with transaction.atomic(using=alias):
        if _FIRST not in applied:
            if _AUTH not in applied:
                raise UnfinishedMigrations(
                    "The migrations of an earlier version have not been completed here. Run that version's `manage.py migrate` first."
                )
            recorder.record_applied(*_FIRST)
        _move_content_type(alias)


def _move_content_type(alias: str) -> None:
    """Move the permissions and the admin's history of ``auth.user`` to ``accounts.user``.

    Both exist if a process of the earlier version has written meanwhile, or if its `migrate` was run again.
    """
    types = ContentType.objects.using(alias)
    former = types.filter(app_label="auth", model="user").first()
    if former is None:
        return
    current = types.filter(app_label="accounts", model="user").first()
    if current is None:
        types.filter(pk=former.pk).update(app_label="accounts")
    else:
        LogEntry.objects.using(alias).filter(content_type=former).update(content_type=current)
        for permission in Permission.objects.using(alias).filter(content_type=former):
            _regrant_permission(alias, permission, current)
        former.delete(using=alias)
    ContentType.objects.clear_cache()


def _regrant_permission(alias: str, former: Permission, content_type: ContentType) -> None:
    """Give the holders of a permission the permission of the same name on another content type."""
    current, _ = Permission.objects.using(alias).get_or_create(
        content_type=content_type, codename=former.codename, defaults={"name": former.name}
    )
    for through, holder in ((User.user_permissions.through, "user_id"), (Group.permissions.through, "group_id")):
        rows: QuerySet[Any] = QuerySet(through, using=alias)
        for holder_id in rows.filter(permission=former).values_list(holder, flat=True):
            rows.get_or_create(**{holder: holder_id}, permission_id=current.pk)
