"""How the admin writes moments: with their seconds, which is what one looks for there."""

DATETIME_FORMAT = "j M Y, H:i:s"
