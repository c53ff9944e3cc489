"""Serving: everything after the push."""
