from __future__ import annotations

import json

from serving.deploy.dashboard import dashboard
from serving.deploy.text import to_json

MODEL = 'model_name="My_Model"'
EXPORTED = {
    'up{job="headrace-my-model"}': "1x30",
    f':tensorflow:serving:request_count{{{MODEL},status="OK"}}': "0+10x30",
    f':tensorflow:serving:request_latency_bucket{{{MODEL},API="predict",entrypoint="REST",le="1000"}}': "0+10x30",
    f':tensorflow:serving:request_latency_bucket{{{MODEL},API="predict",entrypoint="REST",le="+Inf"}}': "0+10x30",
    f':tensorflow:serving:request_latency_sum{{{MODEL},API="predict",entrypoint="REST"}}': "0+5000x30",
    f':tensorflow:serving:request_latency_count{{{MODEL},API="predict",entrypoint="REST"}}': "0+10x30",
    f':tensorflow:serving:runtime_latency_sum{{{MODEL},API="Predict",runtime="TF1"}}': "0+3000x30",
    f':tensorflow:serving:runtime_latency_count{{{MODEL},API="Predict",runtime="TF1"}}': "0+10x30",
    ':tensorflow:serving:request_example_counts_sum{model="My_Model"}': "0+40x30",
    ':tensorflow:serving:request_example_counts_count{model="My_Model"}': "0+10x30",
    ':tensorflow:serving:request_example_count_total{model="My_Model"}': "0+40x30",
    f':tensorflow:serving:request_log_count{{{MODEL},status_code="OK"}}': "0+1x30",
}


def queries(board) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_every_panel_shows_what_a_server_exports(settings, promtool) -> None:
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in EXPORTED.items()],
        "promql_expr_test": [
            {"expr": f"count({query}) > bool 0", "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]}
            for query in queries(dashboard(settings()))
        ],
    }
    promtool("test", "rules", "unit.yaml", unit={"evaluation_interval": "1m", "tests": [test]})


def test_panels_do_not_overlap_and_name_no_data_source_of_ours(settings) -> None:
    board = json.loads(to_json(dashboard(settings())))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(places)
    variable = board["templating"]["list"][0]["name"]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {f"${{{variable}}}"}
    for panel in board["panels"]:
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references))


def test_the_identity_fits_into_grafana(settings) -> None:
    assert len(dashboard(settings(resource_name="x" * 53))["uid"]) <= 40
