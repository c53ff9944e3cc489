"""The shipped flights, with targets of containers and everything in a bucket, where containers reach it."""

from __future__ import annotations

from typing import Any

from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.targets import TargetsConfig

SCHEDULE = {"cron": "0 5 * * *", "time_zone": "Europe/Berlin"}
TRAINER = {"cpus": 4, "memory": "16Gi", "accelerator": {"type": "NVIDIA_TESLA_T4"}}
VERTEX = {
    "image": "gcr.io/p/headrace:1",
    "project": "p",
    "region": "us-central1",
    "service_account": "runs@p.iam.gserviceaccount.com",
    "network": "projects/1/global/networks/n",
    "encryption_key": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
    "resources": {"Trainer": TRAINER},
    "schedule": SCHEDULE,
}
KUBEFLOW = {"image": "ghcr.io/headrace:1", "schedule": SCHEDULE}
DATAFLOW = {"project": "p", "region": "r", "temp_location": "gs://b/tmp", "sdk_container_image": "gcr.io/p/headrace:1"}


def flights(places: dict[str, str] | None = None, **targets: Any) -> PipelineConfig:
    """The shipped pipeline with its data and its models in a bucket."""
    config = load_config(find_config("flights"))
    at = {"root": "gs://b/headrace", "data": "gs://b/data/span-{SPAN}/*", "push": "gs://b/models", **(places or {})}
    source = config.data.source.model_copy(update={"path": at["data"]})
    changes: dict[str, Any] = {
        "root": at["root"],
        "data": config.data.model_copy(update={"source": source}),
        "push": config.push.model_copy(update={"path": at["push"]}),
        "schema_path": at.get("schema", config.schema_path),
        "targets": TargetsConfig.model_validate(targets or {"vertex": VERTEX, "kubeflow": KUBEFLOW}),
    }
    return config.model_copy(update=changes)
