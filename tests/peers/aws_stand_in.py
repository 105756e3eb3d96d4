"""ministack, an AWS that others wrote, which also takes the resource types of our templates that its CloudFormation does
not know: it keeps a record of each and makes nothing, nor the password that RDS manages. It also has names for the images
of machines. Everything else is ministack's own. Its settings are ministack's: BIND_HOST, GATEWAY_PORT, MINISTACK_HOST,
MINISTACK_ACCOUNT_ID; and two, by which it behaves as AWS does where ministack is too quick:

PAGE_SIZE: so many entries are in a page of whatever comes in pages, the changes of a change set among them.
CHANGE_SETS_TAKE: so often a change set is looked at before it is ready."""

import os
import uuid

from ministack.app import main
from ministack.services import s3, ssm
from ministack.services.cloudformation import changesets, handlers, provisioners, stacks

RECORDED = [
    "AWS::EC2::EIP",
    "AWS::EC2::FlowLog",
    "AWS::EC2::Instance",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EKS::AccessEntry",
    "AWS::EKS::Addon",
    "AWS::EKS::PodIdentityAssociation",
    "AWS::IAM::OIDCProvider",
]


# What Canonical and Microsoft publish, of which ministack knows nothing.
IMAGES = {
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ami-0000000000002404a",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ami-0000000000002204a",
    "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base": "ami-0000000000002022a",
}


class Attributes(dict):
    """Whatever attribute is asked for: its name stands for it."""

    def __missing__(self, name):
        return name

    def __contains__(self, name):
        return True


def create(logical_id, properties, stack_name):
    return f"{logical_id}-{uuid.uuid4().hex[:17]}", Attributes({"AllocationId": f"eipalloc-{uuid.uuid4().hex[:17]}"})


def update(physical_id, before, after, stack_name):
    return physical_id, Attributes()


def delete(physical_id, properties):
    return None


# RDS manages the password, and ministack's does not: the secret is a name.
attributes_of_database = provisioners._rds_db_instance_attrs


def with_secret(instance):
    secret = f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!{instance['DbiResourceId']}"
    return {**attributes_of_database(instance), "MasterUserSecret.SecretArn": secret}


provisioners._rds_db_instance_attrs = with_secret
ssm._PUBLIC_AMI_PARAMETERS.update(IMAGES)

for kind in RECORDED:
    provisioners._RESOURCE_HANDLERS.setdefault(kind, {"create": create, "update": update, "delete": delete})

# A bucket with the tag `held` takes no change, so that one can fail while it is taken back.
update_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"]


def update_unless_held(physical_id, *rest):
    if "held" in s3._bucket_tags.get(physical_id, {}):
        raise ValueError("The bucket is held")
    return update_bucket(physical_id, *rest)


provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["update"] = update_unless_held

# What could not be deleted when a creation was rolled back stays in its stack; ministack forgets it.
roll_back = stacks._roll_back_operation


async def roll_back_and_remember(stack_name, stack_id, stack, *rest, **more):
    before = dict(stack.get("_resources", {}))
    await roll_back(stack_name, stack_id, stack, *rest, **more)
    if stack["StackStatus"] == "ROLLBACK_FAILED":
        for name in stack["_rollback_failed"]:
            stack["_resources"][name] = {**before[name], "ResourceStatus": "DELETE_FAILED"}


stacks._roll_back_operation = roll_back_and_remember

page_size = int(os.environ.get("PAGE_SIZE", "0"))
change_sets_take = int(os.environ.get("CHANGE_SETS_TAKE", "0"))
page_of_ministack = handlers._page
describe_change_set = handlers._ACTION_HANDLERS["DescribeChangeSet"]
find_change_set = changesets._find_change_set
looks = {}


def page(items, params, action, size=None):
    return page_of_ministack(items, params, action, page_size)


def describe_in_time_and_pages(params):
    key, found = find_change_set(handlers._p(params, "ChangeSetName"), handlers._p(params, "StackName"))
    if not found:
        return describe_change_set(params)
    looks[found["ChangeSetId"]] = looks.get(found["ChangeSetId"], 0) + 1
    changes = found.get("Changes", [])
    start = int(handlers._p(params, "NextToken") or 0)
    end = start + page_size if page_size else len(changes)
    if looks[found["ChangeSetId"]] <= change_sets_take:
        shown = {"Status": "CREATE_IN_PROGRESS", "ExecutionStatus": "UNAVAILABLE", "StatusReason": "", "Changes": []}
        end = len(changes)
    else:
        shown = {"Changes": changes[start:end]}
    changesets._find_change_set = lambda *_: (key, {**found, **shown})
    status, headers, body = describe_change_set(params)
    changesets._find_change_set = find_change_set
    if end < len(changes):
        begin = b"<DescribeChangeSetResult>"
        body = body.replace(begin, begin + b"<NextToken>%d</NextToken>" % end, 1)
    return status, headers, body


if page_size:
    handlers._page = changesets._page = page
if page_size or change_sets_take:
    handlers._ACTION_HANDLERS["DescribeChangeSet"] = describe_in_time_and_pages

if __name__ == "__main__":
    main()
