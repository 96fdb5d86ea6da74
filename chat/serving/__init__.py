"""A process from its start to its end: locks, supervision, limits of what it reads, heartbeats, shutdown."""
