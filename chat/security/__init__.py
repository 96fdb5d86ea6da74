"""Where requests come from, whether they are trusted, and the audit log."""
