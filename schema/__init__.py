"""The contract: the reviewed schema of a pipeline's data, and the code that reads and checks it.

This room stands below all others, so it also holds what each of them needs: the error type for the user's
mistakes (`schema.errors`) and the base of every configuration type (`schema.strict`).
"""
