from __future__ import annotations

import kserve_types
import kubernetes_validate
import pytest
import yaml

from schema.errors import UsageError
from serving.deploy.kserve import KServe, kserve_files

BUCKET = "gs://bucket/models/My_Model"
VARIANTS = [
    (BUCKET, KServe()),
    ("s3://bucket/m", KServe(namespace="serving", service_account="reads-models", replicas=1, max_replicas=1)),
    ("/srv/models/My_Model", KServe(storage_uri="pvc://models/flights/")),
]


def services_of(release, kserve: KServe):
    files = kserve_files(release, kserve)
    return {name: yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")}


@pytest.mark.parametrize(("place", "kserve"), VARIANTS)
def test_kserves_own_types_have_every_field(release, place: str, kserve: KServe) -> None:
    services = services_of(release(place, canary_percent=10), kserve)
    assert set(services) == {"inference-service.yaml", "canary.yaml"}
    for service in services.values():
        assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        kserve_types.check("V1beta1InferenceService", service)


def test_the_reading_by_types_is_strict(release) -> None:
    service = services_of(release(BUCKET), KServe())["inference-service.yaml"]
    for change in ({"maxReplica": 3}, {"maxReplicas": "3"}, {"storageUris": [{"mountPath": "/a", "url": "gs://b"}]}):
        wrong = {**service, "spec": {"predictor": {**service["spec"]["predictor"], **change}}}
        with pytest.raises(AssertionError):
            kserve_types.check("V1beta1InferenceService", wrong)


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_container(release, version: str) -> None:
    predictor = services_of(release(BUCKET), KServe())["inference-service.yaml"]["spec"]["predictor"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": predictor["containers"]},
    }
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize(
    ("place", "kserve", "uri"),
    [
        (BUCKET, KServe(), f"{BUCKET}/1764012345"),
        ("s3://bucket/m", KServe(), "s3://bucket/m/1764012345"),
        ("/srv/m", KServe(storage_uri="pvc://models/flights/"), "pvc://models/flights/1764012345"),
    ],
)
def test_exactly_the_version_lies_where_the_server_looks_for_its_number(release, place, kserve, uri) -> None:
    predictor = services_of(release(place), kserve)["inference-service.yaml"]["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert predictor["storageUris"] == [{"uri": uri, "mountPath": "/mnt/models/1764012345"}]
    assert "--model_base_path=/mnt/models" in container["args"]
    assert "--model_name=My_Model" in container["args"]
    assert f"--rest_api_port={container['ports'][0]['containerPort']}" in container["args"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/My_Model/metadata", "port": 8501}
    assert not [each for each in container["args"] if "_file=" in each]


def test_a_canary_is_the_same_service_with_a_share(release) -> None:
    services = services_of(release(BUCKET, canary_percent=25), KServe())
    stable, canary = services["inference-service.yaml"], services["canary.yaml"]
    assert canary["metadata"]["name"] == stable["metadata"]["name"]
    assert "canaryTrafficPercent" not in stable["spec"]["predictor"]
    assert canary["spec"]["predictor"]["canaryTrafficPercent"] == 25
    assert canary["spec"]["predictor"]["storageUris"][0]["uri"].endswith("/1764012999")


@pytest.mark.parametrize(
    ("place", "changed", "told"),
    [("/srv/models", {}, "pvc://CLAIM"), (BUCKET, {"resource_name": "1-model"}, "a letter first")],
)
def test_what_kserve_would_refuse_is_refused_here(release, place: str, changed, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kserve_files(release(place, **changed), KServe())


@pytest.mark.parametrize(
    "wrong",
    [{"storage_uri": "/srv/models"}, {"storage_uri": "pvc://My_Claim/x"}, {"namespace": "A"}, {"max_replicas": 1}],
)
def test_wrong_options_are_refused(wrong) -> None:
    with pytest.raises(UsageError):
        KServe(**wrong)


def test_the_guide_tells_where_to_ask(release) -> None:
    files = kserve_files(release(BUCKET), KServe(namespace="serving"))
    assert "inferenceservice/my-model --namespace serving" in files["README.md"]
    assert '"$url/v1/models/My_Model:predict"' in files["README.md"]
    assert files["request.json"] == release(BUCKET).example
    first = files["inference-service.yaml"].splitlines()[0]
    assert first == f"# {release(BUCKET).settings.command}"
