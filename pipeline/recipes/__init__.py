"""What can be run: one module per recipe."""
