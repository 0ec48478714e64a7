"""What asks a model: files of rows, TF Serving and its kit, load."""
