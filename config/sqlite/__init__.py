"""Django's SQLite backend, adapted to this product."""
