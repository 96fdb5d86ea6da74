"""What there is to work with: agents and their versions, model servers and what they can do, tool servers; and how these are changed."""
