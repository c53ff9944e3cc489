"""The loop that sees new spans and runs the pipeline for each: in order, exactly once, whatever kills it.

There is no second record of what has been done: a span is done when a run's report says that a run which evaluated on
it ended, with a push or at a gate. Whatever a killed watch was at is therefore found by the next one.
"""
