"""Amazon SageMaker: the requests CreateModel, CreateEndpointConfig and CreateEndpoint, and the archive with the model.

AWS' container of TensorFlow Serving finds models in /opt/ml/model by their layout, NAME/VERSION/saved_model.pb, and
names each by its folder; it reads its settings from the environment (`serve.py` and `tfs_utils.py` of
https://github.com/aws/sagemaker-tensorflow-serving-container).

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from schema.errors import UsageError
from serving.deploy.checks import beside, require_matching
from serving.deploy.model_config import LARGEST_REQUEST, LONGEST_QUEUE
from serving.deploy.release import Release, Served
from serving.deploy.text import template, to_json

ARCHIVE = "model.tar.gz"
_NAME = r"(?=.{1,63}$)[a-zA-Z0-9](-*[a-zA-Z0-9])*"
_S3_FOLDER = r"s3://[a-z0-9.-]{3,63}(/[^/\s]+)*/?"
_IMAGE = r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/\S+:\S+"


@dataclass(frozen=True)
class SageMaker:
    """What only SageMaker needs to know."""

    role: str
    """The ARN of the role that SageMaker takes on, to read the archive and pull the image."""
    instance_type: str = "ml.m5.large"
    replicas: int = 2
    archive: str | None = None
    """The s3:// folder that the archives are uploaded to; None: beside a push path on s3://."""
    capture: str | None = None
    """The s3:// folder that requests and answers are recorded in; None: they are not."""
    capture_percent: int = 100

    def __post_init__(self) -> None:
        require_matching(
            self.role,
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
            "--role",
            "such as arn:aws:iam::123456789012:role/NAME",
        )
        require_matching(self.instance_type, r"ml\.[a-z0-9-]+\.[a-z0-9]+", "--instance-type", "such as ml.m5.large")
        for option, folder in (("--archive", self.archive), ("--capture", self.capture)):
            if folder is not None:
                require_matching(folder, _S3_FOLDER, option, "such as s3://bucket/folder")
        if not 1 <= self.capture_percent <= 100:
            raise UsageError(
                "A share is wrong", where="--capture-percent", expected="1 to 100", received=str(self.capture_percent)
            )


def sagemaker_files(release: Release, sagemaker: SageMaker) -> dict[str, str]:
    """Path below the output folder → content; the archives are packed by the writer, not made here.

    Raises:
        UsageError: A name or the image breaks SageMaker's rule, or where archives go is not said.
    """
    _require_image(release.settings.image)
    files = {
        **{f"{each.version}/create-model.json": model(release, each, sagemaker) for each in release.served},
        "create-endpoint-config.json": endpoint_config(release, sagemaker),
        "create-endpoint.json": endpoint(release, sagemaker),
    }
    return {
        **{name: to_json(request) for name, request in files.items()},
        **release.example_file,
        "README.md": _guide(release, sagemaker),
    }


def archive_file(served: Served) -> str:
    """Where a version's archive lies below the output folder."""
    return f"{served.version}/{ARCHIVE}"


def archive_layout(release: Release, served: Served) -> str:
    """The folder in the archive that the SavedModel lies in."""
    return f"{release.settings.model}/{served.version}"


def archive_uri(release: Release, served: Served, sagemaker: SageMaker) -> str:
    """Where a version's archive is uploaded to.

    Raises:
        UsageError: It is not said, and the push path is not on s3://.
    """
    folder, pushed = sagemaker.archive, release.settings.push_path
    if folder is None and pushed.startswith("s3://"):
        folder = beside(pushed, "sagemaker")
    if folder is None:
        raise UsageError(
            "Where SageMaker finds the archive is not said",
            where="--archive",
            expected="a folder on s3://, such as s3://bucket/folder",
            received=f"nothing, and push.path is {pushed}",
        )
    return f"{folder.rstrip('/')}/{served.version}/{ARCHIVE}"


def model(release: Release, served: Served, sagemaker: SageMaker) -> dict[str, Any]:
    """CreateModel; each version is a model of its own."""
    return {
        "ModelName": _named(release.name_of(served)),
        "ExecutionRoleArn": sagemaker.role,
        "PrimaryContainer": {
            "Image": release.settings.image,
            "ModelDataUrl": archive_uri(release, served, sagemaker),
            "Environment": {
                "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": release.settings.model,
                "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
                # As in `batching_config`: a batch is what arrived while all threads were busy.
                "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS": "0",
                "SAGEMAKER_TFS_MAX_BATCH_SIZE": str(LARGEST_REQUEST),
                "SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES": str(LONGEST_QUEUE),
            },
        },
        "Tags": _tags(release),
    }


def endpoint_config(release: Release, sagemaker: SageMaker) -> dict[str, Any]:
    """CreateEndpointConfig: a variant for each version, weighted by its share.

    A configuration never changes, so its name ends with a digest of what is in it.
    """
    content = {
        "ProductionVariants": [
            {
                "VariantName": f"version-{each.version}",
                "ModelName": release.name_of(each),
                "InitialInstanceCount": sagemaker.replicas,
                "InstanceType": sagemaker.instance_type,
                "InitialVariantWeight": float(each.percent),
            }
            for each in release.served
        ],
        **({"DataCaptureConfig": _capture(sagemaker)} if sagemaker.capture else {}),
        "Tags": _tags(release),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return {"EndpointConfigName": _named(f"{release.name_of(release.served[-1])}-{digest}"), **content}


def endpoint(release: Release, sagemaker: SageMaker) -> dict[str, Any]:
    """CreateEndpoint, and UpdateEndpoint from then on: both take exactly these."""
    return {
        "EndpointName": _named(release.settings.resource_name),
        "EndpointConfigName": endpoint_config(release, sagemaker)["EndpointConfigName"],
    }


def _capture(sagemaker: SageMaker) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": sagemaker.capture_percent,
        "DestinationS3Uri": sagemaker.capture,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def _named(name: str) -> str:
    return require_matching(
        name,
        _NAME,
        "--name",
        "with the versions at most 63 letters, digits and -, neither first nor last a -",
        mend="Give a shorter one with --name.",
    )


def _tags(release: Release) -> list[dict[str, str]]:
    return [{"Key": "headrace:pipeline", "Value": release.settings.model}]


def _require_image(image: str) -> None:
    require_matching(
        image,
        _IMAGE,
        "--image",
        "AWS' own TensorFlow Serving container, ACCOUNT.dkr.ecr.REGION.amazonaws.com/tensorflow-inference:TAG",
        mend="The account differs by region, and the tag by release: choose one from "
        "https://github.com/aws/deep-learning-containers/blob/master/available_images.md or build your own.",
    )


def _guide(release: Release, sagemaker: SageMaker) -> str:
    uploads = "\n".join(
        f"    aws s3 cp {archive_file(each)} {archive_uri(release, each, sagemaker)}\n"
        f"    aws sagemaker create-model --cli-input-json file://{each.version}/create-model.json"
        for each in release.served
    )
    return template(
        "sagemaker.md",
        command=release.settings.command,
        model=release.settings.model,
        name=release.settings.resource_name,
        version=release.stable.version,
        layout=archive_layout(release, release.stable),
        uploads=uploads,
        example=release.example_told,
    )
