"""Drop the indexes of foreign keys whose column another index of the table already begins with: each of them was written with each
row, and no query needs it. Where the database is SQLite, an ``AlterField`` would copy the whole table.
"""  # noqa: D205 - one thought

from typing import Any

from django.conf import settings
from django.db import migrations, models

#: Model and foreign key; the index that begins with the same column.
_COVERED = (
    ("session", "owner"),  # session_by_activity
    ("run", "session"),  # one_run_per_client_message
    ("run", "user"),  # run_by_user
    ("step", "session"),  # one_step_per_seq
    ("step", "run"),  # one_step_per_position
)


def drop_indexes(apps: Any, schema_editor: Any) -> None:
    """By their columns: their names are Django's."""
    connection = schema_editor.connection
    for model_name, field_name in _COVERED:
        model = apps.get_model("chat", model_name)
        column, named = model._meta.get_field(field_name).column, {index.name for index in model._meta.indexes}
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        for name, index in found.items():
            plain = index["index"] and not index["unique"] and index["columns"] == [column]
            if plain and name not in named:
                schema_editor.execute(f"DROP INDEX {schema_editor.quote_name(name)}")


class Migration(migrations.Migration):
    dependencies = (("chat", "0043_first_tokens_of_before"), migrations.swappable_dependency(settings.AUTH_USER_MODEL))
    operations = (
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop_indexes, migrations.RunPython.noop)],
            state_operations=[
                migrations.AlterField(
                    model_name="session",
                    name="owner",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=models.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField(
                    model_name="run",
                    name="session",
                    field=models.ForeignKey(
                        db_index=False, on_delete=models.CASCADE, related_name="runs", to="chat.session"
                    ),
                ),
                migrations.AlterField(
                    model_name="run",
                    name="user",
                    field=models.ForeignKey(
                        db_index=False,
                        help_text="Who asked.",
                        null=True,
                        on_delete=models.SET_NULL,
                        related_name="runs",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField(
                    model_name="step",
                    name="session",
                    field=models.ForeignKey(
                        db_index=False, on_delete=models.CASCADE, related_name="steps", to="chat.session"
                    ),
                ),
                migrations.AlterField(
                    model_name="step",
                    name="run",
                    field=models.ForeignKey(
                        db_index=False, on_delete=models.CASCADE, related_name="steps", to="chat.run"
                    ),
                ),
            ],
        ),
    )
