"""The built-in demo model: what it understands, and how it answers."""
