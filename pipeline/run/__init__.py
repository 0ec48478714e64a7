"""A run on this machine, the folder that it works in, and what is known of it."""
