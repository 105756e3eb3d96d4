"""Calls AWS as somebody who is not Landfall: what boto3 sees and does. Reads {"endpoint", "region", "calls"} and writes
one answer a call; an error is answered as {"error": CODE}. Whose credentials are used, "credentials" says; a call that
names an account, after its arguments, is made in that one, which ministack takes as an access key."""

import json
import sys

import boto3
from botocore.exceptions import ClientError


def main():
    world = json.load(sys.stdin)
    credentials = world.get("credentials", {"aws_access_key_id": "test", "aws_secret_access_key": "a-word"})
    clients = {}
    answers = []
    for service, operation, arguments, *account in world["calls"]:
        key = (service, *account)
        if key not in clients:
            there = {"aws_access_key_id": account[0]} if account else {}
            clients[key] = boto3.client(
                service, endpoint_url=world["endpoint"], region_name=world["region"], **(credentials | there)
            )
        try:
            answers.append(getattr(clients[key], operation)(**arguments))
        except ClientError as error:
            answers.append({"error": error.response["Error"]["Code"]})
    json.dump(answers, sys.stdout, default=str)


main()
