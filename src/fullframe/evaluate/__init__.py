"""Metrics, and the protocols of the benchmarks."""
