"""What there is to work with: agents and their versions, model servers, what they can do and cost, what may be spent, tool servers."""
