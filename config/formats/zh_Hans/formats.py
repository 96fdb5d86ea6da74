"""Formats of times in the admin: with seconds, which operators need there."""

DATETIME_FORMAT = "Y年n月j日 H:i:s"
