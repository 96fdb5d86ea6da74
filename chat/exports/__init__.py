"""A session or a run as one file, written piece by piece; a trajectory of another program's read in as a session."""
