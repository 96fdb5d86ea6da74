"""Keep of the runs that have ended when their model spoke first. Some at a time, each with a transaction of their own: nobody waits for
the table meanwhile, and where it ends in the middle it goes on with the others.
"""  # noqa: D205 - one thought

from typing import Any

from django.db import migrations

#: Runs of one statement.
_AT_ONCE = 500
_ELAPSED = {
    "sqlite": "(julianday(call.started_at) - julianday(chat_run.started_at)) * 86400000.0",
    "postgresql": "date_part('epoch', call.started_at - chat_run.started_at) * 1000.0",
}


def keep_first_tokens(apps: Any, schema_editor: Any) -> None:
    """As runs that end from now on do."""
    run, connection = apps.get_model("chat", "Run"), schema_editor.connection
    statement = f"""UPDATE chat_run SET first_token_ms = (
            SELECT call.first_token_ms + CAST(ROUND({_ELAPSED[connection.vendor]}) AS bigint) FROM chat_modelcall call
            WHERE call.run_id = chat_run.id AND call.first_token_ms IS NOT NULL ORDER BY call.iteration, call.attempt LIMIT 1
        ) WHERE id BETWEEN %s AND %s AND ended_at IS NOT NULL AND first_token_ms IS NULL"""
    left = run.objects.filter(ended_at__isnull=False, first_token_ms=None).order_by("pk").values_list("pk", flat=True)
    keys = list(left[:_AT_ONCE])
    while keys:
        ends = [run._meta.pk.get_db_prep_value(key, connection) for key in (keys[0], keys[-1])]
        with connection.cursor() as cursor:
            cursor.execute(statement, ends)
        keys = list(left.filter(pk__gt=keys[-1])[:_AT_ONCE])


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("chat", "0042_run_first_token"),)
    operations = (migrations.RunPython(keep_first_tokens, migrations.RunPython.noop, elidable=True),)
