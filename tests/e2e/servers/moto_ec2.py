"""An endpoint that speaks the interfaces of EC2, IAM and SSM: ``moto_ec2.py -H HOST -p PORT``.

moto starts as many machines as are the least asked for, EC2 as many as the most; Ray asks for one at the least. And
EC2 may refuse: the file in ``REFUSALS`` has an instance type and a code a line, as in ``g5.xlarge VcpuLimitExceeded``;
``*`` instead of a type refuses whatever is asked.
"""

import os
import sys
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

_get_param = InstanceResponse._get_param
_run_instances = InstanceResponse.run_instances
_describe_images = AmisResponse.describe_images


def as_many_as_possible(self: Any, name: str, *arguments: Any, **more: Any) -> Any:
    return _get_param(self, "MaxCount" if name == "MinCount" else name, *arguments, **more)


def run_instances(self: Any) -> Any:
    wanted = self._get_param("InstanceType")
    # Asked only whether it would, EC2 looks at permissions, and neither at quotas nor at what there is.
    refuse(wanted, only="Unauthorized" if self._get_param("DryRun") == "true" else "")
    return _run_instances(self)


def describe_images(self: Any) -> Any:
    refuse("*")
    return _describe_images(self)


def refuse(what: str, only: str = "") -> None:
    file = Path(os.environ["REFUSALS"])
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for refused, code in (line.split() for line in lines):
        if refused == what and code.startswith(only):
            raise EC2ClientError(code, f"{code} for {what}.")


for responses, name, patch in (
    (InstanceResponse, "_get_param", as_many_as_possible),
    (InstanceResponse, "run_instances", run_instances),
    (AmisResponse, "describe_images", describe_images),
):
    setattr(responses, name, patch)

if __name__ == "__main__":
    main(sys.argv[1:])
