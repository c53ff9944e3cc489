"""The model server: speaks TensorFlow Serving's protocols, gRPC and REST, over the versions that a push leaves."""
