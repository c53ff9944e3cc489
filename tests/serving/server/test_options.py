"""tensorflow_model_server's flags: its names, its defaults, its refusals."""

from __future__ import annotations

import pytest

from serving.server.options import ServerOptions, channel_arguments, parse_flags, worker_threads
from serving.server.status import Code, StatusError

MODEL = "--model_base_path=/models/m"


def refused(*arguments, **defaults):
    with pytest.raises(StatusError) as caught:
        parse_flags(arguments, **defaults)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_the_defaults_are_tensorflow_servings():
    options = parse_flags([MODEL])
    assert (options.port, options.rest_api_port, options.model_name) == (8500, 0, "default")
    assert options.rest_api_timeout_in_ms == 30_000
    assert (options.file_system_poll_wait_seconds, options.model_config_file_poll_wait_seconds) == (1, 0)
    assert (options.max_num_load_retries, options.load_retry_interval_micros) == (5, 60_000_000)
    assert options.enable_model_warmup
    assert options.saved_model_tags == "serve"
    assert not options.enable_batching
    assert not options.allow_version_labels_for_unavailable_models
    assert not options.enable_grpc_healthcheck_service
    assert not options.prefer_tflite_model


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--enable_batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=True"], True),
        (["--enable_batching=1"], True),
        (["--enable_batching=false"], False),
        (["--enable_batching=0"], False),
        (["--enable_batching", "--enable_batching=false"], False),
        ([], False),
    ],
)
def test_yes_or_no(arguments, value):
    assert parse_flags([MODEL, *arguments]).enable_batching is value


def test_values_with_and_without_an_equals_sign():
    options = parse_flags(["--port", "1", "--model_base_path", "/m", "--rest_api_port=2", "--drain_seconds=0.5"])
    assert (options.port, options.model_base_path, options.rest_api_port) == (1, "/m", 2)
    assert options.drain_seconds == 0.5


def test_given_flags_win_over_a_callers_defaults():
    options = parse_flags(["--port=1", MODEL], port=2, rest_api_port=3, model_name="n", model_base_path="/other")
    assert (options.port, options.rest_api_port, options.model_name) == (1, 3, "n")
    assert options.model_base_path == "/models/m"


@pytest.mark.parametrize(
    "flag",
    [
        *("--rest_api_num_threads=16", "--grpc_max_threads=8", "--enable_profiler", "--num_unload_threads=2"),
        *("--flush_filesystem_caches=false", "--per_process_gpu_memory_fraction=0.5", "--num_tflite_pools=3"),
    ],
)
def test_flags_without_a_meaning_here_are_accepted(flag):
    assert parse_flags([MODEL, flag]) == parse_flags([MODEL])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--no_such_flag"], "no_such_flag"),
        (["--por=1"], "--por"),
        (["--port=x"], "invalid int value: 'x'"),
        (["--enable_batching=maybe"], "expected true or false, received 'maybe'"),
        (["positional"], "positional"),
        (["--max_request_bytes=0"], "max_request_bytes"),
        (["--request_log_sampling_rate=1.5"], "request_log_sampling_rate"),
        (["--drain_seconds=-1"], "drain_seconds"),
        (["--drain_seconds=nan"], "drain_seconds"),
        (["--max_concurrent_requests=-1"], "max_concurrent_requests"),
        (["--port=70000"], "port"),
        (["--rest_api_port=-1"], "port"),
    ],
)
def test_a_wrong_flag_is_told_by_name(arguments, told):
    assert told in refused(MODEL, *arguments)


def test_a_models_place_is_required():
    told = refused("--port=1")
    assert told == "Both server_options.model_base_path and server_options.model_config_file are empty!"
    assert parse_flags(["--model_config_file=/c"]).model_config_file == "/c"


def test_a_way_to_reach_the_server_is_required():
    told = "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
    assert refused(MODEL, "--port=0") == told
    assert parse_flags([MODEL, "--port=0", "--grpc_socket_path=/s"]).grpc_socket_path == "/s"


def test_batching_parameters_need_batching():
    told = "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
    assert refused(MODEL, "--batching_parameters_file=/b") == told
    assert parse_flags([MODEL, "--batching_parameters_file=/b", "--enable_batching"]).enable_batching


def test_ports_must_differ():
    assert "must be different" in refused(MODEL, "--port=1", "--rest_api_port=1")


def test_parallelism_is_told_once():
    flags = [f"--tensorflow_{each}_parallelism=2" for each in ("session", "intra_op", "inter_op")]
    assert "You cannot configure all." in refused(MODEL, *flags)
    assert parse_flags([MODEL, *flags[1:]]).tensorflow_inter_op_parallelism == 2


def test_channel_arguments_are_numbers_or_texts():
    given = "grpc.max_connection_age_ms=200,grpc.primary_user_agent=a=b,,grpc.x=-1"
    arguments = dict(channel_arguments(ServerOptions(grpc_channel_arguments=given, max_request_bytes=7)))
    assert arguments["grpc.max_connection_age_ms"] == 200
    assert arguments["grpc.primary_user_agent"] == "a=b"
    assert arguments["grpc.x"] == -1
    assert arguments["grpc.max_receive_message_length"] == 7


def test_a_channel_argument_replaces_the_servers_own():
    """gRPC takes the first of two arguments of one name."""
    options = ServerOptions(grpc_channel_arguments="grpc.max_receive_message_length=5")
    assert [value for key, value in channel_arguments(options) if key == "grpc.max_receive_message_length"] == [5]


@pytest.mark.parametrize("given", ["grpc.x", "a=1,b"])
def test_a_channel_argument_without_a_value(given):
    with pytest.raises(StatusError, match="expected KEY=VALUE"):
        channel_arguments(ServerOptions(grpc_channel_arguments=given))


def test_there_is_more_than_one_thread_for_long_runs():
    assert worker_threads() >= 2


def test_help_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert all(f"--{name}" in told for name in ServerOptions.model_fields)
    assert "--grpc_max_threads" in told
