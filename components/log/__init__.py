"""From raw logs to tf.Examples: what VideoLogExampleGen is made of."""
