"""What puts the application together: settings, addresses, middleware, logs, and the ASGI application."""
