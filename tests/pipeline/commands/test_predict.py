"""`headrace predict` as it is typed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from client_tools import save_person
from model_server import RunningServer, start_server
from projects import REPOSITORY

from pipeline.cli import run_command
from schema.errors import ExitCode
from serving.client import Client

SCHEMA = """
default_environment: "TRAINING" default_environment: "SERVING"
feature { name: "name" type: BYTES }
feature { name: "age" type: INT presence { min_fraction: 1.0 } }
feature { name: "height" type: FLOAT }
feature { name: "seen" type: INT time_domain { integer_format: UNIX_SECONDS } }
feature { name: "late" type: INT int_domain { min: 0 max: 1 } not_in_environment: "SERVING" }
"""
ROWS = [
    {"name": "Ada", "age": 36, "height": 1.65, "seen": "2013-01-01T05:15:00", "late": 1},
    {"name": "Åke", "age": 7, "height": None, "seen": None, "late": 0},
    {"name": "Zoë", "age": 1, "height": 0.75, "seen": 5, "late": 0},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_person(tmp_path_factory.mktemp("models") / "flights")


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[RunningServer]:
    flags = ["--model_name=flights", f"--model_base_path={models}"]
    with start_server(flags, log_path=models.parent / "log") as running:
        yield running


@pytest.fixture
def pipeline(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline whose pushed model echoes, in whose folder the command is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "flights.pbtxt").write_text(SCHEMA)
    shutil.copytree(models, tmp_path / "models")
    shutil.copytree(tmp_path / "models" / "1", tmp_path / "models" / "3")
    change_config(schema="flights.pbtxt", push={"path": "models"}, features={"exclude": {"when": "known afterwards"}})
    Path("rows.json").write_text(json.dumps(ROWS))
    return "./flights.yaml"


def change_config(**changes: object) -> None:
    path = Path("flights.yaml")
    source = path if path.exists() else REPOSITORY / "pipeline" / "configs" / "flights.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(source.read_text()), **changes}))


def told(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_predictions_of_the_running_server(
    pipeline: str, server: RunningServer, protocol: str, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"grpc://{server.grpc}" if protocol == "grpc" else server.url
    assert run_command(["predict", pipeline, "--rows", "rows.json", "--server", address, "--json"]) == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    assert (document["model"], document["version"]) == ("flights", 1)
    assert document["predictions"] == [
        {"age_is": 36, "height_is": 1.65, "name_is": "Ada", "seen_is": 1_357_017_300.0},
        {"age_is": 7, "height_is": None, "name_is": "Åke", "seen_is": None},
        {"age_is": 1, "height_is": 0.75, "name_is": "Zoë", "seen_is": 5.0},
    ]


def test_a_person_gets_a_table(pipeline: str, server: RunningServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["predict", pipeline, "--rows", "rows.json", "--server", server.url]) == ExitCode.OK
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"flights version 1 at {server.url}"
    assert lines[1].split()[0] == "row"
    assert "36" in lines[2].split()
    assert len(lines) == 5


@pytest.mark.parametrize("port", ["rest_port", "grpc_port"])
def test_the_address_is_that_of_the_pipelines_yaml(
    pipeline: str, server: RunningServer, port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    own = {"rest_port": server.rest[1], "grpc_port": int(server.grpc.split(":")[1])}
    change_config(serve=own if port == "rest_port" else {**own, "rest_port": 0})
    assert run_command(["predict", pipeline, "--rows", "rows.json"]) == ExitCode.OK
    assert f"127.0.0.1:{own[port]}" in told(capfd)


def test_rows_on_lines_and_from_stdin(
    pipeline: str, server: RunningServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, ROWS)) + "\n"))
    assert run_command(["predict", pipeline, "--rows", "-", "--server", server.url, "--json"]) == ExitCode.OK
    assert [row["age_is"] for row in json.loads(capfd.readouterr().out)["predictions"]] == [36, 7, 1]


def test_a_server_that_does_not_run(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    change_config(serve={"rest_port": 1, "grpc_port": 2})
    assert run_command(["predict", pipeline, "--rows", "rows.json"]) == ExitCode.SERVER == 30
    assert "Start it: headrace serve ./flights.yaml" in told(capfd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--version", "9"], "Specific(flights, 9)"), (["--label", "nix"], "Unrecognized servable version label: nix")],
)
def test_a_version_that_is_not_served(
    pipeline: str, server: RunningServer, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["predict", pipeline, "--rows", "rows.json", "--server", server.url, *arguments])
    assert code == ExitCode.SERVER
    assert message in told(capfd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"nmae": "Ada", "age": 1}]', "did you mean 'name'?"),
        ('[{"age": 1}, {"name": "Ada"}]', "row 1, feature 'age'"),
        ('[{"age": "old"}]', "row 0, feature 'age' (DT_INT64): expected a number, received 'old'"),
        ('[{"age": 1, "seen": "yesterday"}]', "a time such as 2013-01-31T06:15:00"),
        ("[1, 2]", "list of objects"),
        ("[]", "list of objects"),
        ("", "list of objects"),
        ('{"age": 1}\n{"age"', "list of objects"),
    ],
)
def test_rows_that_do_not_fit(
    pipeline: str, server: RunningServer, text: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("rows.json").write_text(text)
    assert run_command(["predict", pipeline, "--rows", "rows.json", "--server", server.url]) == ExitCode.DATA
    assert message in told(capfd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--rows FILE"),
        (["--rows", "rows.json", "--input", "x.csv"], "--rows FILE"),
        (["--input", "x.csv"], "--output"),
        (["--output", "out"], "--input"),
        (["--rows", "rows.json", "--version", "1", "--label", "a"], "one of them"),
        (["--rows", "rows.json", "--force"], "--force"),
        (["--rows", "rows.json", "--keep", "a"], "--keep"),
        (["--rows", "rows.json", "--server", "localhost"], "grpc://HOST:PORT"),
        (["--input", "x.csv", "--output", "out", "--json"], "--json"),
        (["--input", "x.csv", "--output", "out", "--version", "2"], "one of 1, 3"),
        (["--input", "x.csv", "--output", "gs://b/out"], "local folder"),
        (["--input", "rows.json", "--output", "out"], ".parquet, .csv"),
        (["--input", "good.csv", "--output", "out", "--keep", "age_is"], "'age_is'"),
    ],
)
def test_what_cannot_be_asked(
    pipeline: str, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write("good.csv", 1)
    assert run_command(["predict", pipeline, *arguments]) == ExitCode.USAGE
    assert message in told(capfd)
    assert not Path("out").exists()


def table(count: int) -> pa.Table:
    return pa.table(
        {
            "id": [f"{number:06d}" for number in range(count)],
            "name": [None if number % 5 == 1 else f"person {number}" for number in range(count)],
            "age": list(range(count)),
            "height": [None if number % 3 == 1 else number / 7 for number in range(count)],
            "seen": pa.array(
                [None if number % 4 == 1 else number * 1000 for number in range(count)], pa.timestamp("s")
            ),
            "late": [0] * count,
        }
    )


def write(path: str, count: int) -> None:
    if path.endswith(".csv"):
        pa_csv.write_csv(table(count), path)
    else:
        pq.write_table(table(count), path, row_group_size=300)


@pytest.mark.parametrize("path", ["in.parquet", "in.csv"])
def test_files_are_answered_as_the_server_answers(
    pipeline: str, server: RunningServer, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(path, 1000)
    arguments = ["--input", path, "--output", "out", "--keep", "id", "--version", "1"]
    assert run_command(["predict", pipeline, *arguments]) == ExitCode.OK
    assert "flights version 1: 1,000 rows scored" in told(capfd)
    with Client(server.url, "flights", ignore=True) as client:
        online = client.predict(table(1000))
    batch = pq.read_table("out")
    assert batch["id"].to_pylist() == table(1000)["id"].to_pylist()
    assert set(batch["model_version"].to_pylist()) == {1}
    for name in ("age_is", "height_is", "seen_is"):
        np.testing.assert_allclose(batch[name].to_numpy(), online[name], atol=1e-6)
    assert [name.decode() for name in batch["name_is"].to_pylist()] == online["name_is"].tolist()


def test_several_files_and_the_newest_version(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for number in range(3):
        write(f"in/{number}.parquet", 10 + number)
    assert run_command(["predict", pipeline, "--input", "in/*.parquet", "--output", "out"]) == ExitCode.OK
    assert "flights version 3: 33 rows scored" in told(capfd)
    ages = pq.read_table("out")["age_is"].to_pylist()
    assert ages == [*range(10), *range(11), *range(12)]


def test_bad_rows_of_a_file(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    write("in.csv", 50)
    lines = list(csv.reader(Path("in.csv").read_text().splitlines()))
    lines[11][2] = ""
    lines[21][3] = "tall"
    with Path("in.csv").open("w") as file:
        csv.writer(file).writerows(lines)
    assert run_command(["predict", pipeline, "--input", "in.csv", "--output", "out"]) == ExitCode.OK
    assert "2 rows could not be scored; why:" in told(capfd)
    refused = [json.loads(line) for line in Path("out/_quarantine.jsonl").read_text().splitlines()]
    assert [(row["row"], row["file"]) for row in refused] == [
        (10, str(Path("in.csv"))),
        (20, str(Path("in.csv"))),
    ]
    assert "'tall'" in refused[1]["reason"]
    assert len(pq.read_table("out")) == 48


def test_rows_are_numbered_by_file_across_row_groups(pipeline: str) -> None:
    whole = table(700)
    ages = [None if number == 650 else number for number in range(700)]
    pq.write_table(whole.set_column(2, "age", pa.array(ages)), "in.parquet", row_group_size=300)
    assert run_command(["predict", pipeline, "--input", "in.parquet", "--output", "out"]) == ExitCode.OK
    assert json.loads(Path("out/_quarantine.jsonl").read_text())["row"] == 650


def test_examples(pipeline: str) -> None:
    """Answered by `serve_examples`, which only models of ours have."""
    assert run_command(["predict", pipeline, "--input", "in.tfrecord", "--output", "out"]) == ExitCode.DATA
    with tf.io.TFRecordWriter("in.tfrecord") as writer:
        writer.write(tf.train.Example().SerializeToString())
    assert run_command(["predict", pipeline, "--input", "in.tfrecord", "--output", "out"]) == ExitCode.OK
    assert pq.read_table("out")["size"].to_pylist() == [0]
    Path("in.tfrecord").write_bytes(b"no TFRecord at all")
    assert run_command(["predict", pipeline, "--input", "in.tfrecord", "--output", "out2"]) == ExitCode.DATA


def test_an_output_that_exists(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    write("in.parquet", 5)
    arguments = ["predict", pipeline, "--input", "in.parquet", "--output", "out"]
    assert run_command(arguments) == ExitCode.OK
    before = pq.read_table("out")
    write("in.parquet", 9)
    assert run_command(arguments) == ExitCode.USAGE
    assert "--force" in told(capfd)
    assert pq.read_table("out")["age_is"] == before["age_is"]
    assert run_command([*arguments, "--force"]) == ExitCode.OK
    assert len(pq.read_table("out")) == 9
    Path("out/mine.txt").touch()
    assert run_command([*arguments, "--force"]) == ExitCode.USAGE
    assert "no prediction" in told(capfd)
    assert Path("out/mine.txt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole.drop(["height"]), "Expected: height"),
        (lambda whole: whole.set_column(3, "height", whole["id"]), "The column 'height' has the wrong type"),
    ],
)
def test_a_file_of_another_form(pipeline: str, change: object, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    pq.write_table(change(table(5)), "in.parquet")
    assert run_command(["predict", pipeline, "--input", "in.parquet", "--output", "out"]) == ExitCode.DATA
    assert message in told(capfd)
    assert not Path("out").exists()


def test_before_the_first_push(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("models")
    write("in.parquet", 5)
    assert run_command(["predict", pipeline, "--input", "in.parquet", "--output", "out"]) == ExitCode.USAGE
    assert "headrace run ./flights.yaml" in told(capfd)
