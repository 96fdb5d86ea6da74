"""A process from its start to its end: locks, supervision, limits of requests, heartbeats, shutdown."""
