"""Watches what is served: compares requests and new data with the model's reference, and decides what to do."""
