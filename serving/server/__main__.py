"""`python -m serving.server`: tensorflow_model_server's flags, and its messages when it cannot start."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

_LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_NOISY = ("uvicorn.error", "tensorflow", "absl")
_CANNOT_START, _USAGE, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str], **defaults: Any) -> int:
    """Serves until it is told to end.

    Args:
        arguments: Flags of `tensorflow_model_server`.
        defaults: Replace the flags' own.

    Returns:
        The exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, stream=sys.stderr)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"google\..*")  # about the version of Python, at import

    from serving.server.options import parse_flags
    from serving.server.status import StatusError

    exit_code = _USAGE
    try:
        options = parse_flags(arguments, **defaults)
        exit_code = _CANNOT_START
        from serving.server.app import run

        run(options)
    except StatusError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return exit_code
    except KeyboardInterrupt:  # before the server minds its signals itself
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
