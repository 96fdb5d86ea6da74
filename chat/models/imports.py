"""Imported documents from which sessions were made."""

from django.db import models

from chat.models.sessions import Session


class ImportedDocument(models.Model):
    """The trajectory from which a session was made, unchanged: ATIF, as JSON."""

    session = models.OneToOneField(Session, on_delete=models.CASCADE, primary_key=True, related_name="+")
    document = models.TextField()

    def __str__(self) -> str:
        return f"Document of {self.session_id}"
