"""What several processes and devices need to train one model together."""
