"""A session or a run as one file, written piece by piece; and another program's trajectory imported as a session."""
