"""Tags and filters of the templates. They show what they are given, and query nothing."""
