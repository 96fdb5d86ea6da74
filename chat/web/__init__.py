"""The pages that people see, the forms they send, and the addresses that probes ask."""
