"""ministack, an AWS that others wrote, which also takes the resource types of our templates that its CloudFormation does
not know: it keeps a record of each and makes nothing, nor the password that RDS manages. Everything else is ministack's own. Its settings are ministack's:
BIND_HOST, GATEWAY_PORT, MINISTACK_HOST, MINISTACK_ACCOUNT_ID."""

import uuid

from ministack.app import main
from ministack.services.cloudformation import provisioners

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

for kind in RECORDED:
    provisioners._RESOURCE_HANDLERS.setdefault(kind, {"create": create, "update": update, "delete": delete})

if __name__ == "__main__":
    main()
