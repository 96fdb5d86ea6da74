"""What there is to work with: model servers and what they can do, and tool servers."""
