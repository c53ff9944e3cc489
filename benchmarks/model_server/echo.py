"""gRPC and nothing else: the first bytes of the request come back, as many as the method's name says.

python -m benchmarks.model_server.echo PORT
"""

from __future__ import annotations

import functools
import sys

import grpc
import uvloop

SERVICE = "benchmark.Echo"


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return _handler(int(handler_call_details.method.rpartition("/")[2]))


@functools.cache
def _handler(size: int) -> grpc.RpcMethodHandler:
    async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request[:size]

    return grpc.unary_unary_rpc_method_handler(echo)


async def _serve(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
