"""Models: what is learned, and how raw features become inputs."""
