from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from serving.deploy.kubernetes import kubernetes_files
from serving.deploy.pins import Pins
from serving.deploy.settings import Cluster

VARIANTS = [{}, {"pins": Pins(5, 9)}, {"baked": (5,), "image": "registry/m:1"}, {"push_path": "gs://bucket/m"}]


def manifests_of(settings, cluster: Cluster | None = None):
    """File name → manifest, without the kustomization."""
    files = kubernetes_files(settings, cluster or Cluster())
    return {
        name: yaml.safe_load(text)
        for name, text in files.items()
        if name.endswith(".yaml") and "/" not in name and name != "kustomization.yaml"
    }


def pod_of(settings):
    return manifests_of(settings)["deployment.yaml"]["spec"]["template"]


def server_of(settings):
    (container,) = pod_of(settings)["spec"]["containers"]
    return container


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("changed", VARIANTS)
def test_kubernetes_accepts_every_manifest(settings, changed, version: str) -> None:
    cluster = Cluster(namespace="serving", storage_class="fast", access_mode="ReadOnlyMany")
    for manifest in manifests_of(settings(**changed), cluster).values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("changed", VARIANTS)
def test_kustomize_builds_all_that_is_to_be_applied(settings, changed, tmp_path: Path) -> None:
    files = kubernetes_files(settings(**changed), Cluster(namespace="serving"))
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    written = {name for name in manifests_of(settings(**changed)) if name != "publisher.yaml"}
    assert set(listed) == written
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    for name in ["kustomization.yaml", *listed]:
        (tmp_path / name).write_text(files[name])
    ended = subprocess.run([kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    built = list(yaml.safe_load_all(ended.stdout))
    assert len(built) == len(listed)
    assert {each["metadata"]["namespace"] for each in built} == {"serving"}


def test_every_reference_has_its_target(settings) -> None:
    found = manifests_of(settings(pins=Pins(5)))
    pod = pod_of(settings())
    container = server_of(settings())
    labels = pod["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}

    selectors = [
        found["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        found["service.yaml"]["spec"]["selector"],
        found["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        found["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
        assert not selector.items() <= found["publisher.yaml"]["metadata"]["labels"].items()
    assert {port["targetPort"] for port in found["service.yaml"]["spec"]["ports"]} == set(ports)
    reference = found["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (reference["kind"], reference["name"]) == ("Deployment", found["deployment.yaml"]["metadata"]["name"])
    assert pod["spec"]["serviceAccountName"] == found["service-account.yaml"]["metadata"]["name"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "8501"

    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["config"]["configMap"]["name"] == found["configmap.yaml"]["metadata"]["name"]
    claim = volumes["models"]["persistentVolumeClaim"]
    assert claim == {"claimName": found["volume-claim.yaml"]["metadata"]["name"], "readOnly": True}
    assert mounts["models"]["mountPath"] == "/models/My_Model"
    named = {argument.split("=")[1] for argument in container["args"] if "_file=" in argument}
    assert named == {f"{mounts['config']['mountPath']}/{name}" for name in found["configmap.yaml"]["data"]}


def test_probes_ask_what_they_are_for(settings) -> None:
    server = server_of(settings())
    # The REST status answers 200 for a model that failed to load, so it may only say that the server listens.
    assert server["startupProbe"]["httpGet"] == {"path": "/v1/models/My_Model", "port": "rest"}
    assert server["readinessProbe"]["httpGet"] == {"path": "/v1/models/My_Model/metadata", "port": "rest"}
    assert server["livenessProbe"]["grpc"] == {"port": 8500}
    assert "--enable_grpc_healthcheck_service=true" in server["args"]
    started = server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"]
    assert started >= 300
    pinned = server_of(settings(pins=Pins(5, 9)))
    assert pinned["readinessProbe"]["httpGet"]["path"] == "/v1/models/My_Model/labels/stable/metadata"


def test_the_restricted_pod_security_standard_holds(settings) -> None:
    found = manifests_of(settings())
    for spec in (pod_of(settings())["spec"], found["publisher.yaml"]["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_pod_drains_and_then_ends_by_itself(settings) -> None:
    spec = pod_of(settings())["spec"]
    drain = int(server_of(settings())["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > drain
    assert spec["shareProcessNamespace"] is True  # as process 1 it would ignore SIGTERM
    rolling = manifests_of(settings())["deployment.yaml"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0


def test_the_autoscaler_owns_the_number_of_replicas(settings) -> None:
    found = manifests_of(settings(), Cluster(replicas=3, max_replicas=7))
    assert "replicas" not in found["deployment.yaml"]["spec"]
    assert found["autoscaler.yaml"]["spec"]["minReplicas"] == 3
    assert found["autoscaler.yaml"]["spec"]["maxReplicas"] == 7
    assert server_of(settings())["resources"]["requests"]["cpu"] == "2"  # what its percentage is of


def test_moving_a_canary_changes_only_what_servers_read_again(settings) -> None:
    before = manifests_of(settings(pins=Pins(5, 7), command="a"))
    after = manifests_of(settings(pins=Pins(7), command="b"))
    assert [name for name in before if before[name] != after[name]] == ["configmap.yaml"]
    assert [
        key
        for key in before["configmap.yaml"]["data"]
        if before["configmap.yaml"]["data"][key] != after["configmap.yaml"]["data"][key]
    ] == ["models.config"]


def test_what_servers_read_once_replaces_the_pods(settings) -> None:
    digests = {pod_of(settings(cpus=cpus))["metadata"]["annotations"]["headrace/read-once"] for cpus in (2, 3)}
    assert len(digests) == 2


@pytest.mark.parametrize("changed", [{"baked": (5,), "image": "registry/m:1"}, {"push_path": "gs://bucket/m"}])
def test_baked_or_remote_models_need_no_volume(settings, changed) -> None:
    found = manifests_of(settings(**changed))
    assert not {"volume-claim.yaml", "publisher.yaml"} & set(found)
    assert {mount["name"] for mount in server_of(settings(**changed))["volumeMounts"]} == {"config", "scratch"}


def test_only_a_bucket_lets_the_server_out(settings) -> None:
    assert manifests_of(settings())["network-policy.yaml"]["spec"]["egress"] == []
    remote = manifests_of(settings(push_path="gs://bucket/m"))["network-policy.yaml"]["spec"]
    assert {"Ingress", "Egress"} == set(remote["policyTypes"])
    assert 443 in {port["port"] for rule in remote["egress"] for port in rule["ports"]}


def test_prometheus_finds_the_pods_by_the_labels_that_they_have(settings, promtool) -> None:
    files = kubernetes_files(settings(), Cluster())
    prometheus = yaml.safe_load(files["monitoring/prometheus.yaml"])
    (job,) = prometheus["scrape_configs"]
    labels = pod_of(settings())["metadata"]["labels"]
    kept = {rule["source_labels"][0]: rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"}
    prefix = "__meta_kubernetes_pod_label_app_kubernetes_io_"
    assert kept[f"{prefix}name"] == labels["app.kubernetes.io/name"]
    assert kept[f"{prefix}instance"] == labels["app.kubernetes.io/instance"]
    assert kept["__meta_kubernetes_pod_container_port_name"] in {
        port["name"] for port in server_of(settings())["ports"]
    }
    # Debian's promtool is built without the discovery of Kubernetes; the rest is checked without it.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    promtool("check", "config", "p.yaml", p=prometheus, alerts=files["monitoring/alerts.yaml"])


@pytest.mark.parametrize("changed", VARIANTS)
def test_the_guide_has_no_gaps(settings, changed) -> None:
    guide = kubernetes_files(settings(**changed), Cluster(namespace="serving"))["README.md"]
    assert "kubectl apply -k . --namespace serving" in guide
    assert "$" not in guide


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "kubectl cp"),
        ({"push_path": "gs://bucket/models"}, "the right to read it"),
        ({"baked": (1,)}, "They are in the image"),
    ],
)
def test_the_guide_tells_of_the_place_where_the_models_are(settings, changed, told: str) -> None:
    guide = kubernetes_files(settings(**changed), Cluster())["README.md"]
    assert [each for each in ("kubectl cp", "the right to read it", "They are in the image") if each in guide] == [told]
