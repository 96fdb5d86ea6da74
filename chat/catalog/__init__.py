"""What there is to work with: agents, model servers, what these can do and cost, what may be spent, tool servers; and their changes."""
