"""Pages, the forms on them, and the addresses for probes."""
