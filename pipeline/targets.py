"""The `targets:` section of a pipeline's YAML: where, other than on this machine, the same pipeline can run."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from schema.strict import Strict

Name = Annotated[str, Field(min_length=1)]
LabelKey = Annotated[str, Field(pattern=r"^[a-z][-_a-z0-9]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[-_a-z0-9]{0,63}$")]
NodeName = str

GIB = r"^[1-9][0-9]*(\.[0-9]+)?(Mi|Gi|M|G)$"


class BeamTarget(Strict):
    """What all Beam runners outside this process have in common."""

    local_below_mib: NonNegativeInt = 256
    """A component whose input is smaller than this runs on this machine: starting workers would take longer."""
    workers_share_disk: bool = False
    """Whether the workers mount the folders that this machine sees under the same paths (Filestore, NFS). Else every
    path has to be a URL."""
    options: tuple[Name, ...] = ()
    """More of Beam's own flags, as on its command line: `--experiments=use_runner_v2`."""


class DataflowTarget(BeamTarget):
    """Google Cloud Dataflow: Beam's stock DataflowRunner.

    Source: https://cloud.google.com/dataflow/docs/reference/pipeline-options
    """

    project: Name
    region: Name
    temp_location: Annotated[str, Field(min_length=1)]
    """A gs:// folder for what jobs leave while they run."""
    staging_location: Name | None = None
    """A gs:// folder for what workers install; None: below `temp_location`."""
    sdk_container_image: Name | None = None
    """What workers run, with Headrace in it (see docker/Dockerfile). None: Dataflow's own image, in which each worker
    first installs the package that setup.py builds, and what it needs."""
    machine_type: Name | None = None
    workers: PositiveInt | None = None
    """To start with; None: Dataflow decides."""
    max_workers: PositiveInt | None = None
    disk_size_gb: PositiveInt | None = None
    service_account: Name | None = None
    network: Name | None = None
    subnetwork: Name | None = None
    use_public_ips: bool = True
    labels: dict[LabelKey, LabelValue] = {}
    endpoint: Name | None = None
    """Of the Dataflow service; None: Google's."""

    @model_validator(mode="after")
    def _workers_are_at_most_the_most(self) -> DataflowTarget:
        if self.workers and self.max_workers and self.workers > self.max_workers:
            raise ValueError(f"workers may be at most max_workers, which is {self.max_workers}, not {self.workers}")
        return self


class PortableTarget(BeamTarget):
    """A Beam job server that somebody else keeps: `--runner=PortableRunner`."""

    job_endpoint: Annotated[str, Field(pattern=r"^[^:/\s]+:[0-9]{1,5}$")]
    """HOST:PORT."""
    environment_type: Literal["DOCKER", "PROCESS", "EXTERNAL", "LOOPBACK"] = "DOCKER"
    environment_config: Name | None = None


class FlinkTarget(BeamTarget):
    """A Flink cluster: Beam's own FlinkRunner, which starts a job server with Java."""

    flink_master: Name
    environment_type: Literal["DOCKER", "PROCESS", "EXTERNAL", "LOOPBACK"] = "DOCKER"
    environment_config: Name | None = None


class SparkTarget(BeamTarget):
    """A Spark cluster: Beam's own SparkRunner, which starts a job server with Java."""

    spark_master_url: Name
    environment_type: Literal["DOCKER", "PROCESS", "EXTERNAL", "LOOPBACK"] = "DOCKER"
    environment_config: Name | None = None


class Accelerator(Strict):
    """What a container is given beside processors."""

    type: Name
    """As the platform names it: `NVIDIA_TESLA_T4` on Vertex, `nvidia.com/gpu` on Kubernetes."""
    count: PositiveInt = 1


class Resources(Strict):
    """What a node's container is given."""

    cpus: PositiveFloat | None = None
    memory: Annotated[str, Field(pattern=GIB)] | None = None
    """Such as 16G."""
    accelerator: Accelerator | None = None


class Schedule(Strict):
    """When a compiled pipeline runs by itself."""

    cron: Annotated[str, Field(pattern=r"^\S+( \S+){4}$")]
    """Five fields: minute, hour, day of the month, month, day of the week."""
    time_zone: Name = "UTC"
    """Of the cron expression, by its IANA name."""
    most_at_once: PositiveInt = 1
    """Runs at the same time."""

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("the IANA name of a time zone, such as Europe/Vienna")
        return name


class ContainersTarget(Strict):
    """What Vertex AI and Kubeflow Pipelines have in common: every node is a container."""

    image: Name
    """With Headrace in it (see docker/Dockerfile)."""
    resources: dict[NodeName, Resources] = {}
    cache: bool = True
    """Whether the platform may answer a node from an earlier run. ExampleGen, which looks for new spans, the gates, and
    what looks for pushed versions always run, and with them all that reads what they write."""
    schedule: Schedule | None = None
    beam: Literal["in_memory", "dataflow"] = "in_memory"
    """Where the Beam components run: in their own container, or on `targets.dataflow`."""


class VertexTarget(ContainersTarget):
    """Vertex AI Pipelines."""

    project: Name
    region: Name
    service_account: Name | None = None
    network: Name | None = None
    encryption_key: Name | None = None


class KubeflowTarget(ContainersTarget):
    """Kubeflow Pipelines, version 2."""


class TargetsConfig(Strict):
    """All of them; none is needed to run on this machine."""

    dataflow: DataflowTarget | None = None
    flink: FlinkTarget | None = None
    spark: SparkTarget | None = None
    portable: PortableTarget | None = None
    vertex: VertexTarget | None = None
    kubeflow: KubeflowTarget | None = None

    @model_validator(mode="after")
    def _dataflow_is_described(self) -> TargetsConfig:
        for name, target in (("vertex", self.vertex), ("kubeflow", self.kubeflow)):
            if target is not None and target.beam == "dataflow" and self.dataflow is None:
                raise ValueError(f"{name}.beam is dataflow, so targets.dataflow has to say which project and region")
        return self
