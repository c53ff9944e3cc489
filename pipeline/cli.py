"""The command line: parse, call, show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import NoReturn

from rich.console import Console

from pipeline.beam import RUNNERS
from pipeline.commands.deploy import deploy
from pipeline.commands.deploy_options import DeployOptions, add_deploy_options
from pipeline.commands.predict import PredictOptions, add_predict_options, predict
from pipeline.config import PipelineConfig, find_config, load_config, to_yaml
from pipeline.processes import interruptible, kept_for_good
from pipeline.view import quiet_console, show_error
from schema.errors import ExitCode, HeadraceError, disk_error, metadata_error
from storage.errors import explain


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code."""
    sys.exit(int(run_command(sys.argv[1:] if arguments is None else arguments)))


def run_command(arguments: Sequence[str]) -> ExitCode:
    """Runs one command; a user's mistake is shown in one paragraph, never as a traceback."""
    if arguments[:1] == ["serve"]:
        return _serve(arguments[1:])
    parsed = _parser().parse_args(arguments)
    with quiet_console() as console:
        try:
            return ExitCode(parsed.command(parsed, console))
        except HeadraceError as error:
            show_error(console, error)
            return error.exit_code
        except KeyboardInterrupt:
            console.print("Interrupted.")
            return ExitCode.INTERRUPTED
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            return ExitCode.INTERRUPTED
        except Exception as error:
            told = (
                disk_error(error, "the run")
                or metadata_error(error)
                or explain(error, "see `headrace config NAME --resolved` for the URLs")
            )
            if told is None:
                raise
            show_error(console, told)
            return told.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace", description="A production pipeline for tabular deep learning on TensorFlow Extended."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", "run a pipeline: data to a pushed model", _run)
    run.add_argument("--accept", metavar="REASON", help="accept what the gates of the last run refused, and say why")
    run.add_argument("--force", metavar="NODE", action="append", default=[], help="run NODE though it is cached")
    run.add_argument("--from", metavar="NODE", dest="from_node", help="start at NODE, on what an earlier run left")
    run.add_argument("--until", metavar="NODE", dest="until_node", help="end with NODE")
    run.add_argument("--span", metavar="N", type=_number, help="the span that evaluates (default: as configured)")
    _add_on(run)
    run.add_argument("--jobs", metavar="N", type=_positive, help="the most nodes at once (default: one per core)")

    _command(commands, "resume", "go on with the last run, if it did not end", _resume)

    watch = _command(commands, "watch", "run the pipeline for new spans, and when the model has gone stale", _watch)
    watch.add_argument("--once", action="store_true", help="one look, then end (for cron); the exit code tells")
    watch.add_argument("--every", metavar="SECONDS", type=_seconds, help="look so often (default: as configured)")
    _add_on(watch)
    watch.add_argument("--from-span", metavar="N", type=_number, help="no span before N (default: the latest)")

    status = _command(commands, "status", "show the runs, the artifacts, and what is pushed", _status)
    status.add_argument("--runs", metavar="N", type=_positive, default=10, help="the most runs to show (default: 10)")

    why = _command(commands, "why", "explain a run: each gate and each cached node", _why)
    why.add_argument("subject", nargs="?", help="a gate (data, quality, infra) or a node; default: all")
    why.add_argument("--run", metavar="ID", help="which run (default: the last)")

    commands.add_parser("serve", help="serve what is pushed, as TensorFlow Serving does (headrace serve --help)")

    told = "ask the running server about rows, or score files in batch"
    add_predict_options(_command(commands, "predict", told, _predict))

    monitor = _command(commands, "monitor", "compare what is served with what was trained on, and decide", _monitor)
    _add_on(monitor)
    monitor.add_argument("--version", metavar="V", type=_positive, help="which pushed version (default: the newest)")
    monitor.add_argument("--log", metavar="DIR", help="a folder of request logs (default: serve.request_log)")
    monitor.add_argument("--labels", metavar="FILES", help="tables with the identifier and the label (a glob)")

    _add_versions(commands)
    _add_compile(commands)
    config = _command(commands, "config", "check and show a pipeline's configuration", _config)
    config.add_argument("--resolved", action="store_true", help="with every default and absolute paths")

    _add_deploy(commands)
    _command(commands, "doctor", "check this machine, the installation and a pipeline's inputs", _doctor)
    return parser


def _add_on(parser: argparse.ArgumentParser) -> None:
    told = "where Beam components run, as `targets:` in the YAML describes it (default: on this machine)"
    parser.add_argument("--on", choices=RUNNERS, help=told)


def _add_versions(commands: argparse._SubParsersAction) -> None:
    rollback = _command(commands, "rollback", "answer from an older version, and never from the newer ones", _rollback)
    rollback.add_argument(
        "--to", metavar="V", type=_positive, help="which version (default: the one before the newest)"
    )
    rollback.add_argument("--reason", metavar="TEXT", default="none was given", help="kept with what is rolled back")
    told = "give the candidate all the traffic, or restore a version that was rolled back"
    promote = _command(commands, "promote", told, _promote)
    promote.add_argument("version", nargs="?", type=_positive, help="which (default: the candidate)")
    canary = _command(commands, "canary", "show the version that is tried on a share of the traffic", _canary)
    canary.add_argument("--start", metavar="V", type=_positive, help="try this version")
    canary.add_argument("--drop", metavar="REASON", help="roll the candidate back")


def _add_compile(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "compile", "write what Vertex AI, Kubeflow Pipelines or Airflow run", _compile)
    parser.add_argument("--for", dest="platform", choices=("vertex", "kubeflow", "airflow"), required=True)
    parser.add_argument("--output", metavar="DIR", help="where (default: compiled/PIPELINE-PLATFORM)")
    parser.add_argument("--force", action="store_true", help="replace files that someone else wrote or edited")
    parser.add_argument("--schedule", metavar="CRON", help="when Airflow runs it (default: when it is triggered)")
    parser.add_argument("--on", choices=RUNNERS, help="where Airflow's tasks run Beam components (default: there)")
    parser.add_argument("--accept", metavar="REASON", help="accept what the gates of --run refused, and say why")
    parser.add_argument("--run", metavar="URL", help="the folder of a run on the platform, as GateReport prints it")


def _add_deploy(commands: argparse._SubParsersAction) -> None:
    told = "write what runs the pushed models on TensorFlow Serving"
    parser = commands.add_parser("deploy", help=told, description=told[0].upper() + told[1:] + ".")
    add_deploy_options(parser.add_subparsers(required=True, metavar="TARGET"), _positive)
    parser.set_defaults(command=_deploy)


def _command(commands: argparse._SubParsersAction, name: str, told: str, function: object) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=told, description=told[0].upper() + told[1:] + ".")
    parser.add_argument(
        "pipeline", nargs="?", default="flights", help="a name in pipeline/configs, or a .yaml file (default: flights)"
    )
    parser.set_defaults(command=function)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, received {text}")
    return number


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number of a span, received {text}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, received {text}")
    return seconds


def _load(parsed: argparse.Namespace) -> PipelineConfig:
    return load_config(find_config(parsed.pipeline))


def _resume(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.resume import find_resumable

    found = find_resumable(console, _load(parsed))
    if found is None:
        return ExitCode.OK
    again = _parser().parse_args(found.command)
    again.pipeline = parsed.pipeline  # it may have been named from another folder
    again.span = found.newest if again.span is None else again.span  # a newer one may have arrived
    again.force = [node for node in again.force if node not in found.done]
    return _run(again, console, found.run_id)


def _run(parsed: argparse.Namespace, console: Console, resumes: str | None = None) -> ExitCode:
    with kept_for_good():
        from pipeline.commands.run import RunOptions, run

    options = RunOptions(
        pipeline=parsed.pipeline,
        accept=parsed.accept,
        force=frozenset(parsed.force),
        from_node=parsed.from_node,
        until_node=parsed.until_node,
        span=parsed.span,
        on=parsed.on,
        resumes=resumes,
        **({"jobs": parsed.jobs} if parsed.jobs else {}),
    )
    return run(console, _load(parsed), options)


def _watch(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.watch import WatchOptions, watch_pipeline

    options = WatchOptions(parsed.pipeline, parsed.once, parsed.every, parsed.from_span, parsed.on)
    return watch_pipeline(console, _load(parsed), options)


def _status(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.status import status

    return status(console, _load(parsed), parsed.runs)


def _why(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.why import why

    return why(console, _load(parsed), parsed.pipeline, parsed.subject, parsed.run)


def _monitor(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.monitor import MonitorOptions, monitor

    options = MonitorOptions(parsed.pipeline, parsed.version, parsed.log, parsed.labels, parsed.on)
    with interruptible():
        return monitor(console, _load(parsed), options)


def _compile(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.compile import CompileOptions, compile_for

    options = CompileOptions(
        parsed.platform, parsed.output, parsed.force, parsed.accept, parsed.run, parsed.schedule, parsed.on
    )
    return compile_for(console, _load(parsed), options)


def _serve(arguments: Sequence[str]) -> ExitCode:
    """Not within `quiet_console`: a server's log is its output."""
    try:
        from pipeline.commands.serve import serve

        return ExitCode(serve(arguments))
    except HeadraceError as error:
        with quiet_console() as console:
            show_error(console, error)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _config(parsed: argparse.Namespace, console: Console) -> ExitCode:
    path = find_config(parsed.pipeline)
    config = load_config(path)
    text = to_yaml(config) if parsed.resolved else path.read_text(encoding="utf-8")
    console.out(text, end="", highlight=False)
    return ExitCode.OK


def _rollback(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.rollback import rollback

    return rollback(console, _load(parsed), parsed.to, parsed.reason)


def _promote(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.promote import promote

    return promote(console, _load(parsed), parsed.version)


def _canary(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.canary import canary

    return canary(console, _load(parsed), parsed.start, parsed.drop)


def _deploy(parsed: argparse.Namespace, console: Console) -> ExitCode:
    return deploy(console, _load(parsed), DeployOptions.of(parsed))


def _predict(parsed: argparse.Namespace, console: Console) -> ExitCode:
    given = {option.name: getattr(parsed, option.name) for option in fields(PredictOptions)}
    return predict(console, _load(parsed), PredictOptions(**{**given, "keep": tuple(parsed.keep)}))


def _doctor(parsed: argparse.Namespace, console: Console) -> ExitCode:
    from pipeline.commands.doctor import doctor

    return doctor(console, parsed.pipeline)
