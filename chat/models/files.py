"""Files: what users attach to messages and what tools return. Written by ``store.files`` and ``store.file_texts`` only.

The content is in the database, in chunks: every process of every machine can serve it and send it to a model, it is in every backup, and it
is deleted in the same transaction as its session. No other storage has to be shared by several machines.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.sessions import Session


class File(models.Model):
    """One file of one owner; content and name never change.

    It may be read by its owner and by users who see a session that uses it. ``is_whole`` is false while its content is being written;
    the file is not visible before. A file that no session uses (``is_used``) is deleted after a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=200)
    media_type = models.CharField(max_length=100, help_text="What its content is, whatever its sender said.")
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64)
    is_whole = models.BooleanField(default=False, db_default=False)
    is_used = models.BooleanField(default=False, db_default=False)
    pages = models.PositiveIntegerField(null=True, help_text="Pages of its text; empty before that was read.")
    problem = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="Why its text could not be read."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = (models.Index(fields=("created_at",), condition=Q(is_used=False), name="file_unused"),)

    def __str__(self) -> str:
        return self.name


class FileChunk(models.Model):
    """A piece of a file's content; ``number`` counts from 0."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("file", "number"), name="one_chunk_per_number"),)

    def __str__(self) -> str:
        return f"{self.file_id} {self.number}"


class FileText(models.Model):
    """A passage of a file's text: whole lines of one page, from ``first_line`` on. ``terms`` are the words by which search finds it."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="texts")
    page = models.PositiveIntegerField()
    first_line = models.PositiveIntegerField()
    text = models.TextField()
    terms = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("file", "page", "first_line"), name="one_text_per_place"),)

    def __str__(self) -> str:
        return f"{self.file_id} {self.page}:{self.first_line}"


class SessionFile(models.Model):
    """A session uses a file: everyone who sees the session can read the file."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="used_files")
    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="uses")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("session", "file"), name="one_use_per_session"),)

    def __str__(self) -> str:
        return f"{self.session_id} {self.file_id}"
