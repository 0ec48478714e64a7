"""How a model learns: batches, steps, the optimizer, the loop and its checkpoints."""
