"""Formats of times in the admin: with seconds, which operators need there."""

DATETIME_FORMAT = "j M Y, H:i:s"
