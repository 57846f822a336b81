"""Checks before any work: parameters, what they refer to, and what the machine has for them."""
