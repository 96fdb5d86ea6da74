"""Django's PostgreSQL, as this product connects to it."""
