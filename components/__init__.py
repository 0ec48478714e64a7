"""Beam and TFX components that TFX does not have: they turn logs into examples and guard them."""
