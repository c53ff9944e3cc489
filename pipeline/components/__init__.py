"""Our own TFX components, only where no standard one serves."""
