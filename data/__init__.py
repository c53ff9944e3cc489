"""Data: what ships with the project, and the readers that turn sources into tf.Examples."""
