"""Free parameters of the simulator, fitted on cells of the sweep and judged on others."""
