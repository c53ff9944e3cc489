"""Gates: what was checked, against what, and the verdict."""
