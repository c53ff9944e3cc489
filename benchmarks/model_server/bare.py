"""The least that a Python model server can be: no checks, no batching, no metrics; JSON in, one call, JSON out.

    python -m benchmarks.model_server.bare SAVED_MODEL PORT

What `headrace serve` costs beyond this is what its protocol, checks, metrics and reloads cost; what it costs less at
concurrency is what batching saves. It has the same HTTP server, JSON library and Session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import numpy as np
import orjson
import tensorflow as tf
import uvicorn

from serving.session_model import SessionModel

_DEFAULT = "serving_default"


def main(model: str, port: str) -> None:
    """Serves until it is told to end."""
    session = SessionModel(model)
    signature = session.signatures[_DEFAULT]
    call = session.prepare(_DEFAULT)
    inputs = [(name, tf.as_dtype(info.dtype).as_numpy_dtype) for name, info in signature.inputs.items()]

    async def answer(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        rows = orjson.loads(body)["instances"]
        columns = [
            np.array([row[name].encode() for row in rows], object)
            if dtype is object
            else np.array([row[name] for row in rows], dtype)
            for name, dtype in inputs
        ]
        content = orjson.dumps({"predictions": call(*columns)[0]}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    uvicorn.run(
        answer,
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
