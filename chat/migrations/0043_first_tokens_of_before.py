"""Keep of the runs that have ended when their model spoke first. On its own: nobody waits for the table meanwhile."""

from typing import Any

from django.db import migrations

_ELAPSED = {
    "sqlite": "(julianday(call.started_at) - julianday(chat_run.started_at)) * 86400000.0",
    "postgresql": "date_part('epoch', call.started_at - chat_run.started_at) * 1000.0",
}


def keep_first_tokens(apps: Any, schema_editor: Any) -> None:
    """As runs that end from now on do."""
    elapsed = _ELAPSED[schema_editor.connection.vendor]
    schema_editor.execute(
        f"""UPDATE chat_run SET first_token_ms = (
            SELECT call.first_token_ms + CAST(ROUND({elapsed}) AS bigint) FROM chat_modelcall call
            WHERE call.run_id = chat_run.id AND call.first_token_ms IS NOT NULL ORDER BY call.iteration, call.attempt LIMIT 1
        ) WHERE ended_at IS NOT NULL"""
    )


class Migration(migrations.Migration):
    dependencies = (("chat", "0042_run_first_token"),)
    operations = (migrations.RunPython(keep_first_tokens, migrations.RunPython.noop, elidable=True),)
