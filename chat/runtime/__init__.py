"""What every process needs: threads for the database, groups, background tasks, clocks, locks. It knows nothing of the product.

Nothing in here may import a model or another package of the application.
"""
