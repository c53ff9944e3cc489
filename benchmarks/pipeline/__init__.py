"""Headrace beside stock TFX: the same data, model and evaluation, in one run."""
