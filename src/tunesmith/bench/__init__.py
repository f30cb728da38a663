"""Comparisons that take many runs: planned as cells, each run once in a process of its own, kept and resumed."""
