"""Artifact types of our own.

Their names have the form that TFX asks for in what it compiles for Kubeflow and Vertex AI, `namespace.Title`;
`pipeline.runners.container` finds the class by the title.
"""

from __future__ import annotations

from tfx.types import artifact

from pipeline.metadata import VERDICT_TYPE


class GateVerdict(artifact.Artifact):
    """What a gate decided: `verdict.json` in the artifact's folder, see `pipeline.gates.verdict`.

    Custom properties: `gate`, `outcome`, `passed` (1 or 0: what conditions ask), `accepted` (JSON of the findings
    that a person accepted, with reasons) and, for the quality and infra gates, `model_id`.
    """

    TYPE_NAME = VERDICT_TYPE


class ExampleProfile(artifact.Artifact):
    """The examples of a window counted in bins: a `monitoring.profile.Profile` in the artifact's folder."""

    TYPE_NAME = "headrace.ExampleProfile"


class ModelReference(artifact.Artifact):
    """What a served model is compared with: a `monitoring.reference.Reference` in the artifact's folder."""

    TYPE_NAME = "headrace.ModelReference"
