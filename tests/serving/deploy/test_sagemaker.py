from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from moto import mock_aws

from schema.errors import UsageError
from serving.deploy.sagemaker import SageMaker, archive_layout, archive_uri, sagemaker_files

PLACE = "s3://bucket/models/My_Model"
IMAGE = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/tensorflow-inference:2.19.0-cpu-py312-ubuntu22.04-sagemaker"
SAGEMAKER = SageMaker(role="arn:aws:iam::123456789012:role/sagemaker")
CAPTURING = SageMaker(role=SAGEMAKER.role, capture="s3://bucket/captured", capture_percent=20, replicas=1)
CALLS = {
    "1764012345/create-model.json": "CreateModel",
    "1764012999/create-model.json": "CreateModel",
    "create-endpoint-config.json": "CreateEndpointConfig",
    "create-endpoint.json": "CreateEndpoint",
}


@pytest.fixture(scope="module")
def client() -> Any:
    return client_of("sagemaker")


def client_of(service: str) -> Any:
    return boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="y")


def requests_of(files: dict[str, str]) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in files.items() if name in CALLS}


def mistakes(client: Any, call: str, request: dict[str, Any]) -> list[str]:
    """What botocore's validator finds, and what the service's model says of texts beside it."""
    shape = client.meta.service_model.operation_model(call).input_shape
    report = ParamValidator().validate(request, shape)
    return [report.generate_report()] if report.has_errors() else list(broken_rules(shape, request, call))


def broken_rules(shape: Any, value: Any, where: str) -> Any:
    if shape.type_name == "structure":
        for name, each in value.items():
            yield from broken_rules(shape.members[name], each, f"{where}.{name}")
    elif shape.type_name == "list":
        for each in value:
            yield from broken_rules(shape.member, each, where)
    elif shape.type_name == "map":
        for key, each in value.items():
            yield from broken_rules(shape.key, key, where)
            yield from broken_rules(shape.value, each, f"{where}.{key}")
    elif shape.type_name == "string":
        # Java's Unicode classes, which Python's patterns lack.
        pattern = re.sub(r"\\p\{[LN]\}", r"\\w", shape.metadata.get("pattern", ".*")).replace(r"\p{Z}", r"\s")
        if not re.fullmatch(pattern, value) or len(value) > shape.metadata.get("max", 1 << 30):
            yield f"{where}: {value!r} breaks {shape.metadata}"
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of {shape.enum}"


@pytest.mark.parametrize("sagemaker", [SAGEMAKER, CAPTURING])
@pytest.mark.parametrize("percent", [0, 10])
def test_botocore_accepts_every_request(release, client, sagemaker: SageMaker, percent: int) -> None:
    requests = requests_of(sagemaker_files(release(PLACE, percent, image=IMAGE), sagemaker))
    assert len(requests) == (4 if percent else 3)
    for name, request in requests.items():
        assert mistakes(client, CALLS[name], request) == []


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("CreateModel", {"ModelName": "my_model"}),
        ("CreateModel", {"ModelName": "m", "Imagee": "x"}),
        ("CreateModel", {}),
        ("CreateModel", {"ModelName": "x" * 64}),
    ],
)
def test_the_check_is_strict(client, call: str, request_: dict[str, Any]) -> None:
    assert mistakes(client, call, request_)


def test_the_requests_in_order_make_an_endpoint(release) -> None:
    requests = requests_of(sagemaker_files(release(PLACE, 10, image=IMAGE), CAPTURING))
    with mock_aws():
        mocked = client_of("sagemaker")
        for name, request in requests.items():
            call = re.sub(r"(?<!^)(?=[A-Z])", "_", CALLS[name]).lower()
            getattr(mocked, call)(**request)
        found = mocked.describe_endpoint(EndpointName="my-model")
        assert re.fullmatch(r"my-model-1764012999-[0-9a-f]{8}", found["EndpointConfigName"])
        variants = mocked.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])["ProductionVariants"]
        assert [(each["VariantName"], each["InitialVariantWeight"]) for each in variants] == [
            ("version-1764012345", 90.0),
            ("version-1764012999", 10.0),
        ]
        model = mocked.describe_model(ModelName=variants[1]["ModelName"])["PrimaryContainer"]
        assert model["ModelDataUrl"] == "s3://bucket/models/My_Model-sagemaker/1764012999/model.tar.gz"
        assert model["Environment"]["SAGEMAKER_TFS_DEFAULT_MODEL_NAME"] == "My_Model"


def test_another_configuration_has_another_name(release) -> None:
    def name_of(percent: int, **changed: Any) -> str:
        sagemaker = SageMaker(**{"role": SAGEMAKER.role, **changed})
        files = requests_of(sagemaker_files(release(PLACE, percent, image=IMAGE), sagemaker))
        name = files["create-endpoint-config.json"]["EndpointConfigName"]
        assert files["create-endpoint.json"]["EndpointConfigName"] == name
        return name

    assert name_of(10) == name_of(10)
    assert len({name_of(0), name_of(10), name_of(20), name_of(10, replicas=3), name_of(10, capture="s3://abc")}) == 5


@pytest.mark.parametrize(
    ("place", "archive", "uri"),
    [
        (PLACE, None, "s3://bucket/models/My_Model-sagemaker/1764012345/model.tar.gz"),
        ("/srv/models", "s3://other/archives/", "s3://other/archives/1764012345/model.tar.gz"),
        ("gs://bucket/m", "s3://other", "s3://other/1764012345/model.tar.gz"),
    ],
)
def test_where_the_archive_goes(release, place: str, archive: str | None, uri: str) -> None:
    made = release(place, image=IMAGE)
    sagemaker = SageMaker(role=SAGEMAKER.role, archive=archive)
    assert archive_uri(made, made.stable, sagemaker) == uri
    assert f"aws s3 cp 1764012345/model.tar.gz {uri}\n" in sagemaker_files(made, sagemaker)["README.md"]
    assert archive_layout(made, made.stable) == "My_Model/1764012345"


@pytest.mark.parametrize(
    ("place", "changed", "told"),
    [
        ("/srv/models", {}, "--archive"),
        ("gs://bucket/m", {}, "--archive"),
        (PLACE, {"image": "tensorflow/serving:2.20.0"}, "available_images"),
        (PLACE, {"resource_name": "x" * 53}, "at most 63"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_here(release, place: str, changed, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        sagemaker_files(release(place, **{"image": IMAGE, **changed}), SAGEMAKER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "sagemaker"},
        {"instance_type": "m5.large"},
        {"archive": "/srv/archives"},
        {"capture": "gs://bucket/captured"},
        {"capture_percent": 101},
    ],
)
def test_wrong_options_are_refused(wrong) -> None:
    with pytest.raises(UsageError):
        SageMaker(**{"role": SAGEMAKER.role, **wrong})


def test_the_guides_commands_exist(release) -> None:
    """Each `aws SERVICE COMMAND --option` is an operation of the service with that parameter."""
    guide = sagemaker_files(release(PLACE, image=IMAGE), SAGEMAKER)["README.md"]
    code = "\n".join(line[4:] for line in guide.splitlines() if line.startswith("    "))
    assert subprocess.run(["bash", "-n"], input=code, text=True, timeout=30).returncode == 0
    checked = 0
    for line in code.replace("\\\n", " ").splitlines():
        program, service, command, *options = shlex.split(line)
        if service in ("sagemaker", "sagemaker-runtime") and command != "wait":
            operation = "".join(word.title() for word in command.split("-"))
            members = client_of(service).meta.service_model.operation_model(operation).input_shape.members
            for option in options:
                name = "".join(word.title() for word in option.removeprefix("--").split("-"))
                assert not option.startswith("--") or name in ("CliInputJson", *members), option
            checked += 1
    assert (program, checked) == ("aws", 4)
