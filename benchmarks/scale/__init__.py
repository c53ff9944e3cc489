"""Growth on paper: job graphs, rates, and what they add up to."""
