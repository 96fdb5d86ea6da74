"""Texts and rows for people. No database: the caller passes what is shown."""
