"""Django's PostgreSQL backend, adapted to this product."""
