"""What is done with text that others wrote: in processes that can be killed, each piece of work with an end by the clock.

Only light modules: a worker imports one of these and nothing of the application.
"""
