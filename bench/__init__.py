"""Benchmarks: an asv suite (`bench_*.py`), and commands, `python -m bench.NAME`; README.md lists them."""
