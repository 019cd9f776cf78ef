# The two commands that need nothing before them, and what they are made of. Everything else is `invoke --list`.
PYTHON ?= python3
SETUP = $(PYTHON) -m tools.setup
ACTIVATE = . .venv/bin/activate

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit check setup

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1 /p' $(MAKEFILE_LIST) | awk '{ name = $$1; $$1 = ""; printf "make %-10s%s\n", name, $$0 }'

demo: setup ## from nothing to a chat completion: the lab, a SLURM cluster, a served model (root, Debian)
	@$(ACTIVATE) && invoke demo

test: ## every test; as root on Linux also those in the lab
	@$(SETUP) --tests
	@$(ACTIVATE) && pytest

test-unit: ## the tests that need neither root nor a lab, in under a minute
	@$(SETUP) --no-lab
	@$(ACTIVATE) && pytest $(wildcard tests/unit tests/golden tests/test_layers.py tests/test_docs.py)

check: ## format, lint and types
	@$(SETUP) --no-lab
	@$(ACTIVATE) && ruff format --check .
	@$(ACTIVATE) && ruff check .
	@$(ACTIVATE) && mypy

setup: ## .venv, the Pulumi CLI, the stacks, and as root on Linux what the lab needs
	@$(SETUP)
