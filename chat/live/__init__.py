"""Connected clients, but not the consumer: who is connected to a session, and which frames each client is sent."""
