.PHONY: check docs tour
check: ## style and tests
	ruff check vmf_embeddings tests benchmarks setup.py
	ruff format --check vmf_embeddings tests benchmarks setup.py
	OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 8 --dist worksteal

docs: ## the site, in site/; needs the extra `docs`
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

tour: ## docs/tour.ipynb from docs/tour.py, with new outputs; needs the extra `docs`
	PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 jupytext --to ipynb --execute docs/tour.py
