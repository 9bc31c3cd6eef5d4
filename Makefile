.PHONY: check
check: ## style and tests
	ruff check vmf_embeddings tests benchmarks setup.py
	ruff format --check vmf_embeddings tests benchmarks setup.py
	OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 8
