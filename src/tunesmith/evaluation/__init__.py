"""Judging a model: loss and answers on held-out rows, what it forgot, before against after."""
