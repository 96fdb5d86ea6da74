"""Django's SQLite, as this product connects to it."""
