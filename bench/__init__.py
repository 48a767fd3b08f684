"""Benchmarks: an asv suite (files named after what they time), and `python -m bench.figures`."""
