# Every chore is a verb of scripts/bootstrap.py, which needs nothing but Python 3.11 or newer.
PYTHON ?= python3

.PHONY: run dev test test-faults test-scale check bench lock vendor protocol messages
run dev test test-faults test-scale check bench lock vendor protocol messages:
	@exec $(PYTHON) scripts/bootstrap.py $@
