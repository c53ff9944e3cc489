"""One client for a model server, over gRPC and over REST: this project's server or the real TensorFlow Serving.

    with Client("grpc://127.0.0.1:8500", "flights") as client:
        probability = client.predict(rows)["probability"]

Rows are dicts, a DataFrame or Arrow; answers are arrays, the same over both protocols. REST needs no TensorFlow; gRPC
imports it for the protocol's messages when the first request is sent.
"""

from serving.client.client import Client
from serving.client.errors import ClientError
from serving.client.signature import Metadata, Signature, TensorSpec, VersionStatus
from serving.client.transport import Certificates

__all__ = ["Certificates", "Client", "ClientError", "Metadata", "Signature", "TensorSpec", "VersionStatus"]
