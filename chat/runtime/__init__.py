"""What a process is made of: threads for the database, groups, background tasks, clocks, locks. Knows no rule of the product.

Nothing in here may import a model or any other package of the application.
"""
