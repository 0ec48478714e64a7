"""Exact metrics, how sure they are, and whether a model may be pushed."""
