"""How far the traces of runs have been sent to a collector. Written by ``traces.cursor`` only."""

from django.db import models


class TraceCursor(models.Model):
    """One row: runs that ended before ``since`` are sent; and the process that sends, with its lease."""

    since = models.DateTimeField()
    process = models.CharField(max_length=120, blank=True)
    leased_until = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Sent up to {self.since}"


class TracedRun(models.Model):
    """A run that ended after the cursor and is sent; the row is deleted when the cursor has passed it."""

    run_id = models.UUIDField(primary_key=True)
    ended_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Sent: {self.run_id}"
