"""Sockets, but for the consumer: who is connected to a session, and what each of them is sent."""
