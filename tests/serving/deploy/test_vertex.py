from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import EndpointServiceClient, ModelServiceClient
from google.cloud.aiplatform_v1.services.endpoint_service.transports import EndpointServiceRestTransport
from google.cloud.aiplatform_v1.services.model_service.transports import ModelServiceRestTransport
from google.cloud.aiplatform_v1.types import CreateEndpointRequest, DeployModelRequest, UploadModelRequest
from google.protobuf import json_format
from scripted_http import response, serving

from schema.errors import UsageError
from serving.deploy.vertex import Vertex, vertex_files

PLACE = "gs://bucket/models/My_Model"
VERTEX = Vertex(project="my-project", region="europe-west4", service_account="me@my-project.iam.gserviceaccount.com")
PARENT = "projects/my-project/locations/europe-west4"
PREBUILT = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
CALLS: dict[str, tuple[Any, Any, Any, str, dict[str, Any]]] = {
    "upload-model.json": (
        ModelServiceClient,
        ModelServiceRestTransport,
        UploadModelRequest,
        "upload_model",
        {"parent": PARENT},
    ),
    "create-endpoint.json": (
        EndpointServiceClient,
        EndpointServiceRestTransport,
        CreateEndpointRequest,
        "create_endpoint",
        {"parent": PARENT, "endpointId": "my-model"},
    ),
    "deploy-model.json": (
        EndpointServiceClient,
        EndpointServiceRestTransport,
        DeployModelRequest,
        "deploy_model",
        {"endpoint": f"{PARENT}/endpoints/my-model"},
    ),
}


def requests_of(files: dict[str, str]) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}


def parsed(kind: Any, request: dict[str, Any]) -> Any:
    """Refuses a field that the message does not have, or a value of another type."""
    return kind(json_format.ParseDict(request, kind.pb(kind()), ignore_unknown_fields=False))


def message_of(name: str, body: dict[str, Any]) -> Any:
    """The whole request, of its body and of what the URL says."""
    _, _, kind, call, bound = CALLS[name]
    return parsed(kind, {**bound, **({"endpoint": body} if call == "create_endpoint" else body)})


@pytest.mark.parametrize("name", CALLS)
def test_googles_client_sends_exactly_what_the_guide_posts(release, name: str) -> None:
    client, transport, _, call, _ = CALLS[name]
    files = vertex_files(release(PLACE), VERTEX)
    body = requests_of(files)[name]
    request = message_of(name, body)
    with serving(response(200, b'{"name": "operations/1"}', "Content-Type: application/json")) as server:
        host = urlsplit(server.url).netloc
        way = transport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
        getattr(client(transport=way), call)(request=request)
    head, _, sent = server.received[0].partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    (told,) = re.findall(
        rf'post {name} "?https://europe-west4-aiplatform\.googleapis\.com([^\s"]+)', files["README.md"]
    )
    assert method == "POST"
    assert urlsplit(target).path == urlsplit(told).path
    query = {key: value for key, value in parse_qs(urlsplit(target).query).items() if not key.startswith("$")}
    assert query == parse_qs(urlsplit(told).query)
    assert message_of(name, json.loads(sent)) == request


@pytest.mark.parametrize("wrong", [{"dedicatedResource": {}}, {"dedicatedResources": {"minReplicaCount": "two"}}])
def test_the_reading_is_strict(release, wrong: dict[str, Any]) -> None:
    body = requests_of(vertex_files(release(PLACE), VERTEX))["deploy-model.json"]
    with pytest.raises(json_format.ParseError):
        parsed(DeployModelRequest, {**body, "deployedModel": {**body["deployedModel"], **wrong}})


def test_the_stock_server_finds_the_version_under_its_number(release) -> None:
    files = vertex_files(release(PLACE, image=f"{VERTEX.image}:2.20.0"), VERTEX)
    model = requests_of(files)["upload-model.json"]["model"]
    assert model["artifactUri"] == "gs://bucket/models/My_Model-vertex/1764012345"
    assert f"rsync --recursive {PLACE}/1764012345 {model['artifactUri']}/1764012345" in files["README.md"]
    assert "docker push europe-west4-docker.pkg.dev/my-project/headrace/serving:2.20.0" in files["README.md"]
    container = model["containerSpec"]
    assert "--model_base_path=$(AIP_STORAGE_URI)" in container["args"]
    assert f"--rest_api_port={container['ports'][0]['containerPort']}" in container["args"]
    assert container["predictRoute"] == "/v1/models/My_Model:predict"
    assert container["healthRoute"] == "/v1/models/My_Model/metadata"


def test_a_prebuilt_image_takes_the_version_itself_and_knows_the_rest(release) -> None:
    files = vertex_files(release(PLACE, image=PREBUILT), VERTEX)
    model = requests_of(files)["upload-model.json"]["model"]
    assert model["artifactUri"] == f"{PLACE}/1764012345"
    assert model["containerSpec"] == {"imageUri": PREBUILT}
    assert "docker push" not in files["README.md"]


def test_what_is_deployed_is_what_was_uploaded(release) -> None:
    requests = requests_of(vertex_files(release(PLACE), VERTEX))
    deployed = requests["deploy-model.json"]["deployedModel"]
    assert deployed["model"] == f"{PARENT}/models/{requests['upload-model.json']['modelId']}"
    assert deployed["serviceAccount"] == VERTEX.service_account
    assert requests["deploy-model.json"]["trafficSplit"] == {"0": 100}


def test_a_canary_shares_the_traffic_with_the_version_that_is_deployed(release) -> None:
    requests = requests_of(vertex_files(release(PLACE, canary_percent=10), VERTEX))
    split = requests["deploy-canary.json"]["trafficSplit"]
    assert split == {"0": 10, requests["deploy-model.json"]["deployedModel"]["id"]: 90}
    assert sum(split.values()) == 100
    assert requests["upload-canary.json"]["modelId"] == "my-model-1764012999"


@pytest.mark.parametrize(
    ("place", "changed", "told"),
    [
        ("/srv/models", {}, "gs://"),
        ("s3://bucket/m", {}, "Cloud Storage only"),
        (PLACE, {"resource_name": "1-model"}, "a letter first"),
        (PLACE, {"resource_name": "x" * 53}, "at most 63"),
    ],
)
def test_what_vertex_would_refuse_is_refused_here(release, place: str, changed, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        vertex_files(release(place, **changed), VERTEX)


@pytest.mark.parametrize(
    "wrong",
    [{"project": "My Project"}, {"region": "Europe"}, {"machine_type": "big"}, {"replicas": 5, "max_replicas": 4}],
)
def test_wrong_options_are_refused(wrong) -> None:
    with pytest.raises(UsageError):
        Vertex(**{"project": "my-project", "region": "europe-west4", **wrong})


@pytest.mark.parametrize("percent", [0, 10])
def test_the_guides_commands_are_shell(release, percent: int) -> None:
    guide = vertex_files(release(PLACE, percent), VERTEX)["README.md"]
    code = "\n".join(line[4:] for line in guide.splitlines() if line.startswith("    "))
    assert "post request.json" in code
    ended = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
