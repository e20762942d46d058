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

notebooks:
	for script in notebooks/*.py; do jupytext --update --to ipynb $$script; done
