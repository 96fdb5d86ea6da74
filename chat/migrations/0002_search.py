"""The index that `chat.search` reads and writes: FTS5 on SQLite, `tsvector` with GIN on PostgreSQL.

Its rows leave with their steps, by triggers, because steps are deleted by cascades that no code of ours sees.
"""

from typing import Any

from django.db import migrations

#: On SQLite every commit that touches an FTS5 table writes a segment of it, which later has to be merged. So entries gather in a
#: plain table first, and move by the lot.
LOT = 256

CREATE = {
    "sqlite": (
        "CREATE VIRTUAL TABLE chat_search USING fts5(terms, detail=none, columnsize=0, tokenize='ascii')",
        "CREATE TABLE chat_search_new (id INTEGER PRIMARY KEY, step_id INTEGER NOT NULL UNIQUE, terms TEXT NOT NULL)",
        f"""CREATE TRIGGER chat_search_moves AFTER INSERT ON chat_search_new WHEN NEW.id >= {LOT} BEGIN
            INSERT INTO chat_search (rowid, terms) SELECT step_id, terms FROM chat_search_new;
            DELETE FROM chat_search_new;
        END""",
        """CREATE TRIGGER chat_search_leaves AFTER DELETE ON chat_step BEGIN
            DELETE FROM chat_search_new WHERE step_id = OLD.id;
            DELETE FROM chat_search WHERE rowid = OLD.id;
        END""",
    ),
    "postgresql": (
        "CREATE TABLE chat_search (step_id bigint PRIMARY KEY, owner_id bigint NOT NULL, terms tsvector NOT NULL)",
        "CREATE INDEX chat_search_by_owner ON chat_search (owner_id, step_id)",
        # A short list of what is not yet sorted in: it is read by every search, and sorted in by one of the writers.
        "CREATE INDEX chat_search_terms ON chat_search USING gin (terms) WITH (gin_pending_list_limit = 512)",
        """CREATE FUNCTION chat_search_leaves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                TRUNCATE chat_search;
            ELSE
                DELETE FROM chat_search USING gone WHERE step_id = gone.id;
            END IF;
            RETURN NULL;
        END $$""",
        """CREATE TRIGGER chat_search_leaves AFTER DELETE ON chat_step REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION chat_search_leaves()""",
        """CREATE TRIGGER chat_search_empties AFTER TRUNCATE ON chat_step
        FOR EACH STATEMENT EXECUTE FUNCTION chat_search_leaves()""",
    ),
}
DROP = {
    "sqlite": (
        "DROP TRIGGER chat_search_leaves",
        "DROP TABLE chat_search_new",
        "DROP TABLE chat_search",
    ),
    "postgresql": (
        "DROP TRIGGER chat_search_leaves ON chat_step",
        "DROP TRIGGER chat_search_empties ON chat_step",
        "DROP FUNCTION chat_search_leaves",
        "DROP TABLE chat_search",
    ),
}


def create(apps: Any, schema_editor: Any) -> None:
    """Make the index."""
    for statement in CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def drop(apps: Any, schema_editor: Any) -> None:
    """Remove the index."""
    for statement in DROP[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    """The search index and what keeps it in step with the log."""

    dependencies = [("chat", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
