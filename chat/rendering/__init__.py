"""Texts and rows for people. No database: what is shown is handed in."""
