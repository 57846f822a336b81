"""Bases of the strategies: gradients one tensor at a time, in buckets or in one flat vector, summed or gathered."""
