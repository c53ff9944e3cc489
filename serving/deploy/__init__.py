"""What runs the real TensorFlow Serving: its configuration files, an image, Kubernetes manifests, monitoring."""
