"""A trained model as a SavedModel, and the requests that it is held to."""
