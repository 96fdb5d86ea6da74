"""The built-in demo model: which questions it understands, and how it answers."""
