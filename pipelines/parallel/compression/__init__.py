"""Primitives that compressors are made of: packed bits, scales, rounding, sparse messages, selection, momentum."""
