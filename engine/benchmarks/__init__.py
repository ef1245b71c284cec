"""Measuring: benchmarks, metrics, tables."""
