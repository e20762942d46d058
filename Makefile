.PHONY: check test notebooks

check:
	ruff check
	ruff format --check
	mypy
	lint-imports

test:
	python -m pytest

notebooks:
	for script in notebooks/*.py; do jupytext --update --to ipynb $$script; done
