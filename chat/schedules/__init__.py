"""Schedules: their rules, their occurrences, and the ticker that starts what is due."""
