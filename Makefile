.PHONY: check test thorough notebooks

check:
	ruff check
	ruff format --check
	mypy
	lint-imports

test:
	python -m pytest

thorough:
	python -m pytest -m thorough

notebooks: # with their outputs; slow, and best on a machine that does nothing else
	python -m tests.notebooks
