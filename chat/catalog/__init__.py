"""What there is to work with: model servers and what they can do and cost, what may be spent, and tool servers."""
