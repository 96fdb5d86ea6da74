"""The models that agents ask: a server with OpenAI's API, or the demo model. What servers answer is parsed and repaired here."""
