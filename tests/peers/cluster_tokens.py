"""Signs what `aws eks get-token` signs, by botocore.

Reads a JSON array of {"cluster", "region", "key", "secret", "session" (or null), "second"} on standard input. Prints a
JSON array of the URLs that botocore makes of them at that second of the epoch.
"""

import datetime
import json
import sys

import botocore.auth
import botocore.session
from botocore.config import Config

CLUSTER_HEADER = "x-k8s-aws-id"


def main(cases):
    json.dump([signed(case) for case in cases], sys.stdout)


def signed(case):
    time = datetime.datetime.fromtimestamp(case["second"], datetime.timezone.utc).replace(tzinfo=None)
    botocore.auth.get_current_datetime = lambda *_, **__: time
    client = botocore.session.Session().create_client(
        "sts",
        region_name=case["region"],
        aws_access_key_id=case["key"],
        aws_secret_access_key=case["secret"],
        aws_session_token=case["session"],
        config=Config(signature_version="v4"),
    )

    # As the AWS CLI has the header signed: it stands in no parameter of the operation.
    def keep(params, context, **_):
        context[CLUSTER_HEADER] = params.pop(CLUSTER_HEADER)

    def add(request, **_):
        request.headers[CLUSTER_HEADER] = request.context[CLUSTER_HEADER]

    client.meta.events.register("provide-client-params.sts.GetCallerIdentity", keep)
    client.meta.events.register("before-sign.sts.GetCallerIdentity", add)
    return client.generate_presigned_url(
        "get_caller_identity",
        Params={CLUSTER_HEADER: case["cluster"]},
        ExpiresIn=60,
        HttpMethod="GET",
    )


main(json.load(sys.stdin))
