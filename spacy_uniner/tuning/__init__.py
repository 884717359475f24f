"""Tuning a generator on conversations."""
