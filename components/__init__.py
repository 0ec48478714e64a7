"""Beam and TFX components that TFX does not have: they turn logs into examples and guard them.

One file a component, and beside it what it is made of; log/ is VideoLogExampleGen's.
"""
