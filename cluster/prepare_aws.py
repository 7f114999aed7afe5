"""Makes in an AWS account what cluster/aws.yaml names: a bucket, two instance profiles, and a key pair.

    python cluster/prepare_aws.py --bucket my-laboratory --region us-east-1

Needs credentials of someone who may make roles. What is there already stays as it is, but for the policies, which
become those of cluster/iam. Prints what to write into the cluster file.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

IAM = Path(__file__).parent / "iam"
NAME = "sleep-orchestrator"
EXAMPLE_BUCKET = "my-laboratory"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"


def main() -> None:
    """Make what is missing, and print what to write into the cluster file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--key", type=Path, default=Path("~/.ssh/sleep-orchestrator.pem"))
    options = parser.parse_args()
    key = options.key.expanduser()
    make_bucket(options.bucket, options.region)
    for role in ("head", "worker"):
        make_profile(role, options.bucket, options.region)
    allow_spot(options.region)
    make_key(options.region, key)
    print("orchestrator:")
    print(f"  store: s3://{options.bucket}/sleep")
    print(f"auth:\n  ssh_user: ubuntu\n  ssh_private_key: {key}")
    print("of each node_config:")
    print(f"  KeyName: {NAME}")
    print(f"  IamInstanceProfile: {{ Name: {NAME}-head }}    # {NAME}-worker for the others")
    print(f"  ImageId: {newest_image(options.region)}")
    zone, subnet = public_subnet(options.region)
    print(f"  SubnetIds: [{subnet}]")
    print(f"provider:\n  region: {options.region}\n  availability_zone: {zone}")
    print("The head may start and end machines of clusters whose cluster_name begins with sleep-")


def make_bucket(bucket: str, region: str) -> None:
    """Make a bucket that nobody else reads, whose objects are encrypted."""
    s3 = boto3.client("s3", region_name=region)
    where = (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    if not _exists(lambda: s3.head_bucket(Bucket=bucket), "404"):
        s3.create_bucket(Bucket=bucket, **where)
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(closed, True)
    )


def make_profile(role: str, bucket: str, region: str) -> None:
    """Make the instance profile of heads or of workers, with the policy of cluster/iam for this bucket."""
    iam, name = boto3.client("iam", region_name=region), f"{NAME}-{role}"
    policy = (IAM / f"{role}.json").read_text(encoding="utf-8").replace(EXAMPLE_BUCKET, bucket)
    if not _exists(lambda: iam.get_role(RoleName=name), "NoSuchEntity"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName=name, PolicyName=NAME, PolicyDocument=policy)
    if not _exists(lambda: iam.get_instance_profile(InstanceProfileName=name), "NoSuchEntity"):
        iam.create_instance_profile(InstanceProfileName=name)
    if not iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def make_key(region: str, file: Path) -> None:
    """Make a key pair for these clusters alone: its private half is copied to their heads."""
    ec2 = boto3.client("ec2", region_name=region)
    if _exists(lambda: ec2.describe_key_pairs(KeyNames=[NAME]), "InvalidKeyPair.NotFound"):
        return
    if file.exists():
        raise SystemExit(
            f"{file} is there already, of another region perhaps; give --key another file."
        )
    private = ec2.create_key_pair(KeyName=NAME, KeyType="ed25519")["KeyMaterial"]
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as out:
        out.write(private)


def newest_image(region: str) -> str:
    """Return Amazon's newest Ubuntu with GPU drivers; machines without a GPU take it, too."""
    ssm = boto3.client("ssm", region_name=region)
    try:
        return str(ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return f"look one up: there is no {IMAGE} here"
        raise


def public_subnet(region: str) -> tuple[str, str]:
    """Return the first zone of a region that has a default subnet, and the subnet: Ray wants both to agree."""
    ec2 = boto3.client("ec2", region_name=region)
    default = [{"Name": "default-for-az", "Values": ["true"]}]
    found = ec2.describe_subnets(Filters=default)["Subnets"]
    if not found:
        return "look one up", "there is no default subnet here"
    return min((subnet["AvailabilityZone"], subnet["SubnetId"]) for subnet in found)


def allow_spot(region: str) -> None:
    """Make the role that Amazon's spot service needs, which a person's first spot request would make."""
    try:
        iam = boto3.client("iam", region_name=region)
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("InvalidInput", "EntityAlreadyExists"):
            raise  # these two say that there is one


def _exists(look: Callable[[], object], code: str) -> bool:
    try:
        look()
    except ClientError as error:
        if error.response["Error"]["Code"] == code:
            return False
        raise
    return True


if __name__ == "__main__":
    try:
        main()
    except (BotoCoreError, ClientError) as error:
        said = str(error).rstrip(".")
        raise SystemExit(
            f"{said}. What was made until then stays; once this is put right, the same command makes the rest."
        ) from None
