"""Terminates a cluster at the end of its time to live. Runs on its head: ``expiry.py SINCE_1970_S REGION NAME``."""

import sys
import time
from typing import Any

from orchestrator.cluster.ec2 import CLUSTER_TAG

_AGAIN_S = 10.0


def main(ends_at: float, region: str, cluster_name: str) -> None:
    """Wait, then terminate every machine of the cluster, this one last; try again for as long as it lives."""
    import boto3

    while (left := ends_at - time.time()) > 0:
        time.sleep(min(left, 60.0))  # the clock may be set meanwhile
    while True:
        try:
            client = boto3.client("ec2", region_name=region)
            found = client.get_paginator("describe_instances").paginate(
                Filters=[
                    {"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster_name]},
                    {
                        "Name": "instance-state-name",
                        "Values": ["pending", "running", "stopping", "stopped"],
                    },
                ]
            )
            instances = [i for page in found for r in page["Reservations"] for i in r["Instances"]]
            heads = [i["InstanceId"] for i in instances if _is_head(i)]
            others = [i["InstanceId"] for i in instances if not _is_head(i)]
            print(f"time is up: terminating {others + heads}", flush=True)
            for machine in (
                others + heads
            ):  # one by one: one that is refused must not keep the others
                _terminate(client, machine)
        except Exception as error:  # nobody is there to see it, and money runs
            print(f"{type(error).__name__}: {error}", flush=True)
        time.sleep(_AGAIN_S)


def _terminate(client: Any, machine: str) -> None:
    try:
        client.terminate_instances(InstanceIds=[machine])
    except Exception as error:
        print(f"{machine}: {type(error).__name__}: {error}", flush=True)


def _is_head(instance: dict[str, object]) -> bool:
    tags = instance.get("Tags", [])
    assert isinstance(tags, list)
    return {"Key": "ray-node-type", "Value": "head"} in tags


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2], sys.argv[3])
