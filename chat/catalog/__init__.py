"""What runs use: agents, model servers and their traits, prices, budgets, tool servers; and changes of these."""
