"""A compiled job → the files that the platforms' own tools and APIs take, and how to send them."""

from __future__ import annotations

import json
from typing import Any, Literal

import yaml

from pipeline.config import PipelineConfig
from pipeline.lane import current_lane
from pipeline.targets import ContainersTarget, KubeflowTarget, Schedule, VertexTarget
from schema.errors import ConfigError

Platform = Literal["vertex", "kubeflow"]
PLATFORMS: tuple[Platform, ...] = ("vertex", "kubeflow")

_MOST_AT_ONCE_ON_KUBEFLOW = 10


def vertex_files(config: PipelineConfig, target: VertexTarget, job: dict[str, Any]) -> dict[str, str]:
    """For Vertex AI Pipelines.

    `pipeline.json` is what its SDK and its console take; `run.json` and `schedule.json` are request bodies.

    Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs,
    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules
    """
    run = {key: job[key] for key in ("displayName", "labels", "runtimeConfig", "pipelineSpec")}
    run |= {"serviceAccount": target.service_account} if target.service_account else {}
    run |= {"network": target.network} if target.network else {}
    run |= {"encryptionSpec": {"kmsKeyName": target.encryption_key}} if target.encryption_key else {}
    files = {"pipeline.json": _json(job), "run.json": _json(run)}
    if target.schedule is not None:
        files["schedule.json"] = _json(_vertex_schedule(config.name, target, target.schedule, run))
    return files | {"README.md": _vertex_readme(config, target)}


def kubeflow_files(config: PipelineConfig, target: KubeflowTarget, job: dict[str, Any]) -> dict[str, str]:
    """For Kubeflow Pipelines v2, which takes a pipeline's specification without the job around it.

    `pipeline.yaml` is what its console and its SDK take; `run.json` and `recurring_run.json` are request bodies.

    Source: https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/

    Raises:
        ConfigError: The schedule is not one that Kubeflow can keep.
    """
    spec = job["pipelineSpec"]
    run = {
        "display_name": config.name,
        "pipeline_spec": spec,
        "runtime_config": {"pipeline_root": config.artifacts},
    }
    files = {"pipeline.yaml": yaml.safe_dump(spec, sort_keys=True, allow_unicode=True), "run.json": _json(run)}
    if target.schedule is not None:
        files["recurring_run.json"] = _json(_recurring_run(target.schedule, run))
    return files | {"README.md": _kubeflow_readme(config, target)}


def _vertex_schedule(name: str, target: VertexTarget, schedule: Schedule, run: dict[str, Any]) -> dict[str, Any]:
    return {
        "displayName": name,
        "cron": f"TZ={schedule.time_zone} {schedule.cron}",
        "maxConcurrentRunCount": str(schedule.most_at_once),
        "createPipelineJobRequest": {
            "parent": f"projects/{target.project}/locations/{target.region}",
            "pipelineJob": run,
        },
    }


def _recurring_run(schedule: Schedule, run: dict[str, Any]) -> dict[str, Any]:
    if schedule.most_at_once > _MOST_AT_ONCE_ON_KUBEFLOW:
        raise ConfigError(
            "Kubeflow does not run so many at once",
            where="targets.kubeflow.schedule.most_at_once",
            expected=f"at most {_MOST_AT_ONCE_ON_KUBEFLOW}",
            received=str(schedule.most_at_once),
        )
    return {
        **run,
        "max_concurrency": str(schedule.most_at_once),
        "trigger": {"cron_schedule": {"cron": f"0 {schedule.cron}"}},  # its first field are seconds
        "mode": "ENABLE",
        "no_catchup": True,
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _vertex_readme(config: PipelineConfig, target: VertexTarget) -> str:
    place = f"projects/{target.project}/locations/{target.region}"
    url = f"https://{target.region}-aiplatform.googleapis.com/v1/{place}"
    post = (
        'curl --fail-with-body -X POST -H "Authorization: Bearer $(gcloud auth print-access-token)" \\\n'
        "    -H 'Content-Type: application/json' -d @{body} \\\n    \"{url}\""
    )
    jobs = f"{url}/pipelineJobs?pipelineJobId={config.name}-$(date +%Y%m%d-%H%M%S)"
    options = {"service_account": target.service_account, "network": target.network}
    submit = ", ".join(f"{name}={value!r}" for name, value in options.items() if value)
    key = f", encryption_spec_key_name={target.encryption_key!r}" if target.encryption_key else ""
    schedule = (
        f"Run it as `{target.schedule.cron}` ({target.schedule.time_zone}) says:\n\n"
        f"```sh\n{post.format(body='schedule.json', url=f'{url}/schedules')}\n```\n"
        if target.schedule
        else "For a schedule, set `targets.vertex.schedule` and compile again.\n"
    )
    return f"""# {config.name} on Vertex AI Pipelines

{_image(config, target)}
Run it once:

```sh
{post.format(body="run.json", url=jobs)}
```

or with the SDK (`pip install google-cloud-aiplatform`):

```python
from google.cloud import aiplatform

aiplatform.init(project={target.project!r}, location={target.region!r})
job = aiplatform.PipelineJob(display_name={config.name!r}, template_path="pipeline.json"{key})
job.submit({submit})
```

{schedule}
The account it runs as ({target.service_account or "the Compute Engine default service account"}) needs
`roles/aiplatform.user`, and `roles/storage.objectAdmin` on the buckets of `root`, `data.source.path` and `push.path`\
{_dataflow_roles(target)}.

{_notes(config, target, "vertex")}"""


def _kubeflow_readme(config: PipelineConfig, target: KubeflowTarget) -> str:
    post = (
        "curl --fail-with-body -X POST -H 'Content-Type: application/json' \\\n"
        '    -d @{body} "$KFP/apis/v2beta1/{what}"'
    )
    schedule = (
        f"Run it as `{target.schedule.cron}` says. Kubeflow keeps one time zone for all schedules: its\n"
        f"scheduledworkflow controller's `CRON_SCHEDULE_TIMEZONE` has to be `{target.schedule.time_zone}`.\n\n"
        f"```sh\n{post.format(body='recurring_run.json', what='recurringruns')}\n```\n"
        if target.schedule
        else "For a schedule, set `targets.kubeflow.schedule` and compile again.\n"
    )
    return f"""# {config.name} on Kubeflow Pipelines

{_image(config, target)}
Run it once (`KFP` is the address of the Kubeflow Pipelines API, such as http://localhost:8080 behind
`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`):

```sh
{post.format(body="run.json", what="runs")}
```

or upload `pipeline.yaml` in the console, or with the SDK (`pip install kfp`):

```python
import kfp

kfp.Client(host=KFP).create_run_from_pipeline_package("pipeline.yaml", pipeline_root={config.artifacts!r})
```

{schedule}
The pods' service account needs to read and write the buckets of `root`, `data.source.path` and `push.path` (on GKE:
Workload Identity){_dataflow_roles(target)}.

Kubeflow's launcher copies every input artifact to the container's own disk before a task starts, below `/gcs`: the
pods need that much ephemeral storage, and a user that may write there.

{_notes(config, target, "kubeflow")}"""


def _image(config: PipelineConfig, target: ContainersTarget) -> str:
    lane = current_lane()
    return f"""Compiled from `{config.argument}`; compile again after a change of it, of the schema or of the code.

Every node runs in `{target.image}`. Build and push it from the same sources:

```sh
docker build -f docker/Dockerfile --build-arg PYTHON={lane.python} --build-arg BEAM={lane.beam} \\
    -t {target.image} . && docker push {target.image}
```
"""


def _dataflow_roles(target: ContainersTarget) -> str:
    return ", `roles/dataflow.developer` and `roles/iam.serviceAccountUser`" if target.beam == "dataflow" else ""


def _notes(config: PipelineConfig, target: ContainersTarget, platform: str) -> str:
    return f"""## What a run tells

The last step, GateReport, prints what every gate decided, and keeps it as `report.txt` below `{config.artifacts}`. If
a gate stopped the run, the tasks behind it are skipped, and GateReport fails with the gate's exit code: 10 the data
gate, 11 the quality gate, 12 the infra gate.

To accept what a gate refused, with the folder that GateReport prints, and run what that writes:

```sh
headrace compile {config.argument} --for {platform} --accept 'REASON' --run FOLDER
```

Exactly those findings with exactly those values are accepted, in runs of what was compiled so.

## What is different from `headrace run`

- A model is compared with the newest version in `{config.push.path}` that is not rolled back, and the last good span is
  the newest that such a version was evaluated on. `headrace status` and `headrace why` do not know of these runs.
- {_cache(target)}
- So every run trains, and pushes what passes the gates, whether or not there is a new span: a schedule should not be
  denser than the spans.
- There is no warm start: a pushed version does not hold the weights that one begins with.
"""


def _cache(target: ContainersTarget) -> str:
    if not target.cache:
        return "Nothing is answered from the platform's cache."
    return (
        "ExampleGen looks for new spans in every run, and a platform's cache goes by where an input is, not by what\n"
        "  is in it. So what stands behind ExampleGen runs again as well; only ImportSchemaGen may come from the cache."
    )
