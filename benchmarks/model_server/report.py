"""The tables: what was measured, and how it compares with what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.model_server.load import Measurement
from benchmarks.model_server.reloads import CONCURRENCY, Reloads
from benchmarks.model_server.systems import BARE, ECHO, GRPC, OURS, PEERS, REST

IN_PROCESS, IN_PROCESS_IDLE = "function", "function, idle gap"


@dataclass(frozen=True, order=True)
class Case:
    """What was measured."""

    protocol: str
    rows: int
    concurrency: int
    system: str


Results = dict[Case, Measurement]
Table = list[list[str]]


def measurements(results: Results) -> Table:
    """A line for each case, those that compare with one another together."""
    table = [
        ["protocol", "rows", "concurrency", "system", "CPU µs/request", "p50 ms", "p99 ms", "requests/s", "failed"]
    ]
    for case, seen in results.items():
        table.append(
            [
                case.protocol,
                str(case.rows),
                str(case.concurrency),
                case.system,
                f"{seen.cpu:,.0f}",
                f"{seen.p50 / 1e3:,.2f}",
                f"{seen.p99 / 1e3:,.2f}",
                f"{seen.requests / seen.seconds:,.0f}",
                str(seen.failed),
            ]
        )
    return table


def ratios(results: Results, reloads: Reloads | None) -> Table:
    """What was asked for: CPU per request against the others', and the latency during reloads."""
    table = [["ratio of CPU per request", "measured", "asked for", ""]]
    for concurrency, least in ((1, 6), (32, 30)):
        table += _below_peers(results, 1, concurrency, least)
    for concurrency, most in ((1, 1.4), (32, 0.35)):
        what = f"headrace / bare, 1 row, concurrency {concurrency}"
        table += _above(
            what, _cpu(results, REST, 1, concurrency, OURS), _cpu(results, REST, 1, concurrency, BARE), most
        )
    for concurrency in (1, 32):
        what = f"headrace / echo over gRPC, 1 row, concurrency {concurrency}"
        table += _above(what, _cpu(results, GRPC, 1, concurrency, OURS), _cpu(results, GRPC, 1, concurrency, ECHO), 3)
    for concurrency in (1, 32):
        table += _below_peers(results, 64, concurrency, 3)
    if reloads is not None:
        worst = reloads.during.p999 / 1e3
        told = f"p99.9 during reloads, concurrency {CONCURRENCY}"
        table.append([told, f"{worst:.1f} ms", "< 100 ms", _verdict(worst < 100)])
        failed = reloads.during.failed
        table.append(["failed requests during reloads", str(failed), "0", _verdict(not failed)])
    return table


def reload_table(reloads: Reloads) -> Table:
    """Latency with and without reloads."""
    table = [
        [f"REST, 1 row, concurrency {CONCURRENCY}", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "requests", "failed"]
    ]
    for name, seen in (("steady", reloads.steady), (f"{len(reloads.served_after)} reloads", reloads.during)):
        times = [f"{value / 1e3:.2f}" for value in (seen.p50, seen.p99, seen.p999, seen.longest)]
        table.append([name, *times, f"{seen.requests:,}", str(seen.failed)])
    return table


def reload_lists(reloads: Reloads) -> Iterator[str]:
    """What was seen of each reload."""
    yield f"Seconds from publishing to serving: {_join(reloads.served_after, '.1f')}"
    yield f"MiB of memory, before and after each reload: {_join(reloads.memory, '.0f')}"


def show(table: Table, as_markdown: bool) -> str:
    """A table as text; the first line is its head."""
    if as_markdown:
        head, *rest = ("| " + " | ".join(line) + " |" for line in table)
        return "\n".join([head, "|" + "---|" * len(table[0]), *rest])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)


def _below_peers(results: Results, rows: int, concurrency: int, least: float) -> Table:
    ours = _cpu(results, REST, rows, concurrency, OURS)
    table: Table = []
    for peer in PEERS:
        theirs = _cpu(results, REST, rows, concurrency, peer)
        if ours and theirs:
            what = f"{peer} / headrace, {rows} row{'s' * (rows > 1)}, concurrency {concurrency}"
            table.append([what, f"{theirs / ours:.1f}×", f"≥ {least:g}×", _verdict(theirs / ours >= least)])
    return table


def _above(what: str, ours: float, theirs: float, most: float) -> Table:
    if not ours or not theirs:
        return []
    return [[what, f"{ours / theirs:.2f}×", f"≤ {most:g}×", _verdict(ours / theirs <= most)]]


def _cpu(results: Results, protocol: str, rows: int, concurrency: int, system: str) -> float:
    seen = results.get(Case(protocol, rows, concurrency, system))
    return seen.cpu if seen else 0.0


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _join(values: Iterable[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)
