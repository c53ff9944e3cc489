"""How often the monitor alarms on unchanged data, and which shift of which size it catches at which sample size."""
