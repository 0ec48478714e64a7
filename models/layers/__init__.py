"""What a model is made of: embeddings, interests, interactions, sharing, losses."""
