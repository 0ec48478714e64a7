"""Recipes, wiring, runners and the command line."""
