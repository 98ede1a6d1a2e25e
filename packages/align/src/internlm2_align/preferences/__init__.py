"""Preference data: pairs of others and our own, read, split by question and kept once.

preference files --sources--> Preference --splits--> training and held-out pairs
"""
