"""Benchmarks: `make bench`. Speed is a ratio within one run; nothing here is a test with a deadline."""
