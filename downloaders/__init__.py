"""Brings bytes: what each data set consists of, and how its archives reach the local disk."""
