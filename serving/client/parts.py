"""What the client is put together of, apart from asking."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from serving.client.errors import FAILED_PRECONDITION, UNKNOWN, ClientError
from serving.client.rows import Chunk
from serving.client.signature import DEFAULT_SIGNATURE, DTYPES, Metadata, TensorSpec
from serving.client.transport import Address, Certificates, Reply, Transport
from serving.client.values import mistake

if TYPE_CHECKING:
    from serving.client.log import ClientLog
    from serving.config import RequestLogConfig

CLASSES = {"classes": TensorSpec("DT_STRING", (-1, 0)), "scores": TensorSpec("DT_FLOAT", (-1, 0))}
VALUES = {"outputs": TensorSpec("DT_FLOAT", (-1,))}
"""The outputs of Classify and of Regress, for no rows."""


def refuse_unknown(chunk: Chunk, known: Collection[str], ignore: bool | Collection[str]) -> None:
    """Raises ClientError if a column is neither known nor to be ignored."""
    if ignore is True:
        return
    for name in chunk.columns:
        if name not in known and name not in (ignore or ()):
            near = difflib.get_close_matches(name, [each for each in known if each not in chunk.columns], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}."
            told = f"the model has no feature {name!r}; {hint} (Columns to be dropped are named by `ignore`.)"
            raise mistake(told, feature=name)


def open_transport(address: Address, certificates: Certificates, headers: Mapping[str, str]) -> Transport:
    """The protocol that an address speaks."""
    if address.is_grpc:
        from serving.client.rpc import RpcTransport

        return RpcTransport(address, certificates, headers)
    from serving.client.rest import RestTransport

    return RestTransport(address, certificates, headers)


def open_log(config: RequestLogConfig | None, model: str) -> ClientLog | None:
    """The log, if there is to be one."""
    if config is None:
        return None
    from serving.client.log import ClientLog

    return ClientLog(config, model)


def signature_for(kind: str, metadata: Metadata, where: str) -> str:
    """The signature that can: the default one, the one of the kind's own name, or the only one."""
    fits = {
        name: signature
        for name, signature in metadata.signatures.items()
        if (signature.classifies if kind == "classify" else signature.regresses)
    }
    for name in (DEFAULT_SIGNATURE, kind):
        if name in fits:
            return name
    if len(fits) != 1:
        which = (
            f"several can: {', '.join(sorted(fits))}" if fits else f"none of {', '.join(sorted(metadata.signatures))}"
        )
        raise ClientError(FAILED_PRECONDITION, f"No one signature of the model can {kind}: {which}", where)
    return next(iter(fits))


def concatenated(
    replies: list[Reply], specs: Callable[[], Mapping[str, TensorSpec]], where: str
) -> dict[str, np.ndarray]:
    """The answers in their order as one.

    Args:
        replies: Of consecutive rows.
        specs: Gives the outputs if there is no reply.
        where: For the error.

    Raises:
        ClientError: An output is not one value for each row.
    """
    if not replies:
        empty = specs()
        return {
            name: np.empty((0, *(max(side, 0) for side in spec.row_shape)), DTYPES.get(spec.dtype, object))
            for name, spec in empty.items()
        }
    if len(replies) == 1:
        return replies[0].outputs
    try:
        return {name: np.concatenate([each.outputs[name] for each in replies]) for name in replies[0].outputs}
    except (KeyError, ValueError) as error:
        told = f"The answers to {len(replies)} requests cannot be put together: {error}. Raise batch_size."
        raise ClientError(UNKNOWN, told, where, 1) from None
