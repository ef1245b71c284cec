"""Measure speed as ratios: each case runs an honest baseline beside the program's own way, in turn, on this machine.

May import everything below the benchmarks. Nothing here is a timed test: figures go into a table for people.
"""
