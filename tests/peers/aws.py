"""Calls AWS as somebody who is not Landfall: what boto3 sees and does. Reads {"endpoint", "region", "calls"} and writes
one answer a call; an error is answered as {"error": CODE}. Whose credentials are used, "credentials" says."""

import json
import sys

import boto3
from botocore.exceptions import ClientError


def main():
    world = json.load(sys.stdin)
    clients = {}
    answers = []
    for service, operation, arguments in world["calls"]:
        if service not in clients:
            clients[service] = boto3.client(
                service,
                endpoint_url=world["endpoint"],
                region_name=world["region"],
                **world.get("credentials", {"aws_access_key_id": "test", "aws_secret_access_key": "a-word"}),
            )
        try:
            answers.append(getattr(clients[service], operation)(**arguments))
        except ClientError as error:
            answers.append({"error": error.response["Error"]["Code"]})
    json.dump(answers, sys.stdout, default=str)


main()
