"""`headrace serve` measured beside a bare Python server, gRPC alone, and the servers that people use instead."""
