"""How the admin writes moments: with their seconds, which is what one looks for there."""

DATETIME_FORMAT = "Y年n月j日 H:i:s"
