"""What the running product is measured by: ``python -m tests.benchmarks``."""
