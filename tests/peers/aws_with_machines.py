"""Two AWSes that others wrote as one, each with what it is good at. CloudFormation, with change sets, events and
roll-backs, is ministack's, and so are STS, S3 and EKS. What stacks are made of otherwise is moto's: networks, machines,
databases with the password that RDS manages, roles, keys and logs, and the images that SSM publishes. Between the two
stands what CloudFormation does between a template and an API: a resource becomes calls, by their names and types in
botocore's own description of the API, which refuses what it does not know. Settings are ministack's: BIND_HOST,
GATEWAY_PORT, MINISTACK_HOST, MINISTACK_ACCOUNT_ID."""

import asyncio
import http.client
import json
import os
import socket
import uuid

# Before moto reads them: what is not there is refused, as AWS would.
os.environ.update(MOTO_ENABLE_AMI_VALIDATION="1", MOTO_ENABLE_KEYPAIR_VALIDATION="1", MOTO_EC2_LOAD_DEFAULT_AMIS="false")
os.environ.update(MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="1", MOTO_IAM_LOAD_MANAGED_POLICIES="true")

import boto3
from ministack import app
from ministack.services.cloudformation import provisioners
from moto.server import ThreadedMotoServer
from moto.ssm.models import Parameter, ssm_backends

from aws_stand_in import IMAGES  # and what neither makes is kept as a record, as there

REGION = "eu-central-1"
OF_MOTO = ["ec2", "iam", "kms", "logs", "rds", "secretsmanager", "ssm"]

# Nobody is given the port that ministack is going to listen on.
with socket.socket() as taken:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", int(os.environ["GATEWAY_PORT"])))
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
ADDRESS = moto.get_host_and_port()


def client(service):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url="http://{}:{}".format(*ADDRESS),
        aws_access_key_id="cloudformation",
        aws_secret_access_key="a-word",
    )


CLIENTS = {service: client(service) for service in OF_MOTO}


def shaped(shape, value):
    """A property as the API takes it: CloudFormation makes text of numbers and switches, and the other way round."""
    if shape.type_name == "structure":
        return {name: shaped(shape.members[name], one) for name, one in value.items() if name in shape.members} | {
            name: one for name, one in value.items() if name not in shape.members
        }
    if shape.type_name == "list":
        return [shaped(shape.member, one) for one in value]
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name == "boolean":
        return str(value).lower() == "true"
    if shape.type_name == "string" and not isinstance(value, (dict, list)):
        return str(value)
    return value


def call(service, operation, **parameters):
    known = CLIENTS[service]
    model = known.meta.service_model.operation_model(known.meta.method_to_api_mapping[operation])
    given = {name: value for name, value in parameters.items() if value is not None}
    return getattr(known, operation)(**(shaped(model.input_shape, given) if model.input_shape else given))


def named(stack, logical):
    return f"{stack}-{logical}-{uuid.uuid4().hex[:12]}"


def tag(resource, properties):
    if properties.get("Tags"):
        call("ec2", "create_tags", Resources=[resource], Tags=properties["Tags"])


def without(properties, *names):
    return {name: value for name, value in properties.items() if name not in names}


def arn_of(kind, name):
    return f"arn:aws:rds:{REGION}:{os.environ['MINISTACK_ACCOUNT_ID']}:{kind}:{name}"


class Thing:
    """One type of resource. `delete` is given what identifies it, and its properties."""

    def create(self, logical, properties, stack):
        raise NotImplementedError

    def delete(self, identity, properties):
        raise NotImplementedError

    def tagged(self, identity, properties):
        tag(identity, properties)

    def update(self, identity, before, after, stack):
        """Only what a type says it can; nothing is passed over in silence."""
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        rest = self.change(identity, after, changed - {"Tags"})
        if rest:
            raise ValueError(f"{type(self).__name__}: {', '.join(sorted(rest))} cannot be changed here")
        if "Tags" in changed:
            self.tagged(identity, after)
        return identity, self.attributes(identity)

    def change(self, identity, after, changed):
        """Makes the changes that it can, and answers the others."""
        return changed

    def attributes(self, identity):
        return {}


class Made(Thing):
    """A type that one call makes and one unmakes."""

    def __init__(self, made, found, unmade, identity, fixed=(), attribute=None):
        self.made, self.found, self.unmade, self.identity = made, found, unmade, identity
        self.fixed, self.attribute = fixed, attribute

    def create(self, logical, properties, stack):
        answer = call("ec2", self.made, **without(properties, "Tags", *self.fixed))
        for key in self.found.split("."):
            answer = answer[int(key) if key.isdigit() else key]
        self.fix(answer, properties)
        tag(answer, properties)
        return answer, self.attributes(answer)

    def fix(self, identity, properties):
        for name in self.fixed:
            if name in properties:
                self.fix_one(identity, name, properties[name])

    def fix_one(self, identity, name, value):
        kind = "vpc" if name.startswith("EnableDns") else "subnet"
        call("ec2", f"modify_{kind}_attribute", **{self.identity: identity, name: {"Value": value}})

    def change(self, identity, after, changed):
        for name in changed & set(self.fixed):
            self.fix_one(identity, name, after[name])
        return changed - set(self.fixed)

    def delete(self, identity, properties):
        many = self.identity.endswith("s")
        call("ec2", self.unmade, **{self.identity: [identity] if many else identity})

    def attributes(self, identity):
        return {self.attribute: identity} if self.attribute else {}


class Attachment(Thing):
    def create(self, logical, properties, stack):
        call("ec2", "attach_internet_gateway", **properties)
        return f"IGW|{properties['VpcId']}", {}

    def delete(self, identity, properties):
        call("ec2", "detach_internet_gateway", **properties)

    def tagged(self, identity, properties):
        pass


class Route(Thing):
    def create(self, logical, properties, stack):
        call("ec2", "create_route", **properties)
        return f"{properties['RouteTableId']}|{properties['DestinationCidrBlock']}", {}

    def delete(self, identity, properties):
        table, destination = identity.split("|")
        call("ec2", "delete_route", RouteTableId=table, DestinationCidrBlock=destination)


class Address(Thing):
    """Known by its address, and by its allocation."""

    def create(self, logical, properties, stack):
        made = call("ec2", "allocate_address", **without(properties, "Tags"))
        tag(made["AllocationId"], properties)
        return made["PublicIp"], {"AllocationId": made["AllocationId"]}

    def allocation(self, identity):
        return call("ec2", "describe_addresses", PublicIps=[identity])["Addresses"][0]["AllocationId"]

    def delete(self, identity, properties):
        call("ec2", "release_address", AllocationId=self.allocation(identity))

    def tagged(self, identity, properties):
        tag(self.allocation(identity), properties)

    def attributes(self, identity):
        return {"AllocationId": self.allocation(identity)}


class FlowLog(Thing):
    def create(self, logical, properties, stack):
        made = call("ec2", "create_flow_logs", ResourceIds=[properties["ResourceId"]], **without(properties, "ResourceId", "Tags"))
        if made["Unsuccessful"]:
            raise ValueError(made["Unsuccessful"][0]["Error"]["Message"])
        tag(made["FlowLogIds"][0], properties)
        return made["FlowLogIds"][0], {}

    def delete(self, identity, properties):
        call("ec2", "delete_flow_logs", FlowLogIds=[identity])


EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def permission(rule):
    """A rule of a template in the API's words."""
    one = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in rule}
    words = {"Description": rule["Description"]} if "Description" in rule else {}
    group = rule.get("SourceSecurityGroupId") or rule.get("DestinationSecurityGroupId")
    if group:
        return one | {"UserIdGroupPairs": [{"GroupId": group, **words}]}
    return one | {"IpRanges": [{"CidrIp": rule["CidrIp"], **words}]}


class SecurityGroup(Thing):
    def create(self, logical, properties, stack):
        name, words = named(stack, logical), properties["GroupDescription"]
        made = call("ec2", "create_security_group", GroupName=name, Description=words, VpcId=properties["VpcId"])["GroupId"]
        tag(made, properties)
        ingress, egress = properties.get("SecurityGroupIngress", []), properties.get("SecurityGroupEgress", [])
        if egress:
            # A template's own rules replace the one that lets everything out.
            call("ec2", "revoke_security_group_egress", GroupId=made, IpPermissions=[EVERYTHING])
            call("ec2", "authorize_security_group_egress", GroupId=made, IpPermissions=[permission(rule) for rule in egress])
        if ingress:
            call("ec2", "authorize_security_group_ingress", GroupId=made, IpPermissions=[permission(rule) for rule in ingress])
        return made, self.attributes(made)

    def delete(self, identity, properties):
        call("ec2", "delete_security_group", GroupId=identity)

    def attributes(self, identity):
        return {"GroupId": identity}


class Egress(Thing):
    def create(self, logical, properties, stack):
        call("ec2", "authorize_security_group_egress", GroupId=properties["GroupId"], IpPermissions=[permission(properties)])
        return f"sgr-{uuid.uuid4().hex[:17]}", {}

    def delete(self, identity, properties):
        call("ec2", "revoke_security_group_egress", GroupId=properties["GroupId"], IpPermissions=[permission(properties)])


class KeyPair(Thing):
    def create(self, logical, properties, stack):
        name, material = properties["KeyName"], properties["PublicKeyMaterial"].encode()
        made = call("ec2", "import_key_pair", KeyName=name, PublicKeyMaterial=material)
        tag(made["KeyPairId"], properties)
        return name, {"KeyPairId": made["KeyPairId"]}

    def delete(self, identity, properties):
        call("ec2", "delete_key_pair", KeyName=identity)

    def tagged(self, identity, properties):
        found = call("ec2", "describe_key_pairs", KeyNames=[identity])["KeyPairs"][0]
        tag(found["KeyPairId"], properties)


class Instance(Thing):
    def create(self, logical, properties, stack):
        spreads = str(properties.get("PropagateTagsToVolumeOnCreation")).lower() == "true"
        kinds = ["instance", "volume"] if spreads else ["instance"]
        interfaces = [
            {("Groups" if name == "GroupSet" else name): value for name, value in one.items()}
            for one in properties["NetworkInterfaces"]
        ]
        made = call(
            "ec2",
            "run_instances",
            MinCount=1,
            MaxCount=1,
            IamInstanceProfile={"Name": properties["IamInstanceProfile"]},
            Monitoring={"Enabled": properties["Monitoring"]},
            NetworkInterfaces=interfaces,
            TagSpecifications=[{"ResourceType": kind, "Tags": properties["Tags"]} for kind in kinds],
            **without(
                properties, "IamInstanceProfile", "Monitoring", "NetworkInterfaces", "PropagateTagsToVolumeOnCreation", "Tags"
            ),
        )
        identity = made["Instances"][0]["InstanceId"]
        # moto hears of it once a machine is there.
        self.change(identity, properties, {"DisableApiTermination"})
        return identity, self.attributes(identity)

    def change(self, identity, after, changed):
        if "InstanceType" in changed:
            call("ec2", "stop_instances", InstanceIds=[identity])
            call("ec2", "modify_instance_attribute", InstanceId=identity, InstanceType={"Value": after["InstanceType"]})
            call("ec2", "start_instances", InstanceIds=[identity])
        if "DisableApiTermination" in changed:
            value = {"Value": after["DisableApiTermination"]}
            call("ec2", "modify_instance_attribute", InstanceId=identity, DisableApiTermination=value)
        return changed - {"InstanceType", "DisableApiTermination"}

    def delete(self, identity, properties):
        call("ec2", "terminate_instances", InstanceIds=[identity])

    def attributes(self, identity):
        found = call("ec2", "describe_instances", InstanceIds=[identity])["Reservations"][0]["Instances"][0]
        return {"InstanceId": identity, "PrivateIp": found["PrivateIpAddress"]}


class Role(Thing):
    def create(self, logical, properties, stack):
        name = properties.get("RoleName") or named(stack, logical)[:64]
        trust = json.dumps(properties["AssumeRolePolicyDocument"])
        made = call("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=trust, Tags=properties.get("Tags"))
        for policy in properties.get("ManagedPolicyArns", []):
            call("iam", "attach_role_policy", RoleName=name, PolicyArn=policy)
        for policy in properties.get("Policies", []):
            document = json.dumps(policy["PolicyDocument"])
            call("iam", "put_role_policy", RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
        return name, {"Arn": made["Role"]["Arn"], "RoleId": made["Role"]["RoleId"]}

    def delete(self, identity, properties):
        for policy in properties.get("ManagedPolicyArns", []):
            call("iam", "detach_role_policy", RoleName=identity, PolicyArn=policy)
        for policy in properties.get("Policies", []):
            call("iam", "delete_role_policy", RoleName=identity, PolicyName=policy["PolicyName"])
        call("iam", "delete_role", RoleName=identity)

    def tagged(self, identity, properties):
        call("iam", "tag_role", RoleName=identity, Tags=properties["Tags"])

    def attributes(self, identity):
        found = call("iam", "get_role", RoleName=identity)["Role"]
        return {"Arn": found["Arn"], "RoleId": found["RoleId"]}


class Profile(Thing):
    def create(self, logical, properties, stack):
        name = named(stack, logical)
        made = call("iam", "create_instance_profile", InstanceProfileName=name)
        for role in properties["Roles"]:
            call("iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=role)
        return name, {"Arn": made["InstanceProfile"]["Arn"]}

    def delete(self, identity, properties):
        for role in properties["Roles"]:
            call("iam", "remove_role_from_instance_profile", InstanceProfileName=identity, RoleName=role)
        call("iam", "delete_instance_profile", InstanceProfileName=identity)


class Key(Thing):
    def create(self, logical, properties, stack):
        policy, words = json.dumps(properties["KeyPolicy"]), properties.get("Description")
        tags = [{"TagKey": one["Key"], "TagValue": one["Value"]} for one in properties.get("Tags", [])]
        made = call("kms", "create_key", Policy=policy, Description=words, Tags=tags)["KeyMetadata"]
        if str(properties.get("EnableKeyRotation")).lower() == "true":
            call("kms", "enable_key_rotation", KeyId=made["KeyId"])
        return made["KeyId"], {"Arn": made["Arn"], "KeyId": made["KeyId"]}

    def delete(self, identity, properties):
        call("kms", "schedule_key_deletion", KeyId=identity, PendingWindowInDays=properties.get("PendingWindowInDays", 30))

    def tagged(self, identity, properties):
        tags = [{"TagKey": one["Key"], "TagValue": one["Value"]} for one in properties["Tags"]]
        call("kms", "tag_resource", KeyId=identity, Tags=tags)

    def attributes(self, identity):
        found = call("kms", "describe_key", KeyId=identity)["KeyMetadata"]
        return {"Arn": found["Arn"], "KeyId": identity}


class LogGroup(Thing):
    def create(self, logical, properties, stack):
        name = properties.get("LogGroupName") or named(stack, logical)
        tags = {one["Key"]: one["Value"] for one in properties.get("Tags", [])}
        call("logs", "create_log_group", logGroupName=name, kmsKeyId=properties.get("KmsKeyId"), tags=tags)
        if "RetentionInDays" in properties:
            call("logs", "put_retention_policy", logGroupName=name, retentionInDays=properties["RetentionInDays"])
        return name, self.attributes(name)

    def delete(self, identity, properties):
        call("logs", "delete_log_group", logGroupName=identity)

    def attributes(self, identity):
        found = call("logs", "describe_log_groups", logGroupNamePrefix=identity)["logGroups"][0]
        return {"Arn": found["arn"]}


class SubnetGroup(Thing):
    def create(self, logical, properties, stack):
        name = named(stack, logical).lower()
        call("rds", "create_db_subnet_group", DBSubnetGroupName=name, **properties)
        return name, {}

    def delete(self, identity, properties):
        call("rds", "delete_db_subnet_group", DBSubnetGroupName=identity)

    def tagged(self, identity, properties):
        call("rds", "add_tags_to_resource", ResourceName=arn_of("subgrp", identity), Tags=properties["Tags"])


class ParameterGroup(Thing):
    def create(self, logical, properties, stack):
        name = named(stack, logical).lower()
        family = {"DBParameterGroupFamily": properties["Family"]}
        call("rds", "create_db_parameter_group", DBParameterGroupName=name, **family, **without(properties, "Family", "Parameters"))
        self.set(name, properties)
        return name, {}

    def set(self, name, properties):
        each = properties.get("Parameters", {}).items()
        values = [{"ParameterName": key, "ParameterValue": value, "ApplyMethod": "pending-reboot"} for key, value in each]
        call("rds", "modify_db_parameter_group", DBParameterGroupName=name, Parameters=values)

    def change(self, identity, after, changed):
        self.set(identity, after)
        return changed - {"Parameters"}

    def delete(self, identity, properties):
        call("rds", "delete_db_parameter_group", DBParameterGroupName=identity)

    def tagged(self, identity, properties):
        call("rds", "add_tags_to_resource", ResourceName=arn_of("pg", identity), Tags=properties["Tags"])


class Database(Thing):
    CHANGES = {"AllocatedStorage", "BackupRetentionPeriod", "DBInstanceClass", "DeletionProtection", "EngineVersion", "MultiAZ"}

    def create(self, logical, properties, stack):
        groups = {"VpcSecurityGroupIds": properties["VPCSecurityGroups"]}
        # The first is CloudFormation's alone until something changes.
        call("rds", "create_db_instance", **groups, **without(properties, "AllowMajorVersionUpgrade", "VPCSecurityGroups"))
        identity = properties["DBInstanceIdentifier"]
        return identity, self.attributes(identity)

    def change(self, identity, after, changed):
        values = {name: after[name] for name in changed & self.CHANGES}
        if values:
            call("rds", "modify_db_instance", DBInstanceIdentifier=identity, ApplyImmediately=True, **values)
        return changed - self.CHANGES

    def delete(self, identity, properties):
        call("rds", "delete_db_instance", DBInstanceIdentifier=identity, SkipFinalSnapshot=True)

    def snapshot(self, identity, properties):
        name = f"{identity}-final-{uuid.uuid4().hex[:8]}"
        call("rds", "create_db_snapshot", DBInstanceIdentifier=identity, DBSnapshotIdentifier=name)

    def tagged(self, identity, properties):
        call("rds", "add_tags_to_resource", ResourceName=arn_of("db", identity), Tags=properties["Tags"])

    def attributes(self, identity):
        found = call("rds", "describe_db_instances", DBInstanceIdentifier=identity)["DBInstances"][0]
        return {
            "Endpoint.Address": found["Endpoint"]["Address"],
            "Endpoint.Port": str(found["Endpoint"]["Port"]),
            "MasterUserSecret.SecretArn": found["MasterUserSecret"]["SecretArn"],
        }


TYPES = {
    "AWS::EC2::EIP": Address(),
    "AWS::EC2::FlowLog": FlowLog(),
    "AWS::EC2::Instance": Instance(),
    "AWS::EC2::InternetGateway": Made(
        "create_internet_gateway", "InternetGateway.InternetGatewayId", "delete_internet_gateway", "InternetGatewayId"
    ),
    "AWS::EC2::KeyPair": KeyPair(),
    "AWS::EC2::NatGateway": Made("create_nat_gateway", "NatGateway.NatGatewayId", "delete_nat_gateway", "NatGatewayId"),
    "AWS::EC2::Route": Route(),
    "AWS::EC2::RouteTable": Made("create_route_table", "RouteTable.RouteTableId", "delete_route_table", "RouteTableId"),
    "AWS::EC2::SecurityGroup": SecurityGroup(),
    "AWS::EC2::SecurityGroupEgress": Egress(),
    "AWS::EC2::Subnet": Made("create_subnet", "Subnet.SubnetId", "delete_subnet", "SubnetId", ["MapPublicIpOnLaunch"]),
    "AWS::EC2::SubnetRouteTableAssociation": Made(
        "associate_route_table", "AssociationId", "disassociate_route_table", "AssociationId"
    ),
    "AWS::EC2::VPC": Made("create_vpc", "Vpc.VpcId", "delete_vpc", "VpcId", ["EnableDnsSupport", "EnableDnsHostnames"]),
    "AWS::EC2::VPCEndpoint": Made(
        "create_vpc_endpoint", "VpcEndpoint.VpcEndpointId", "delete_vpc_endpoints", "VpcEndpointIds"
    ),
    "AWS::EC2::VPCGatewayAttachment": Attachment(),
    "AWS::IAM::InstanceProfile": Profile(),
    "AWS::IAM::Role": Role(),
    "AWS::KMS::Key": Key(),
    "AWS::Logs::LogGroup": LogGroup(),
    "AWS::RDS::DBInstance": Database(),
    "AWS::RDS::DBParameterGroup": ParameterGroup(),
    "AWS::RDS::DBSubnetGroup": SubnetGroup(),
}
# Types that AWS gives a stack's tags, and ministack does not.
TAGGED = ["EIP", "FlowLog", "Instance", "KeyPair", "NatGateway"]


async def ask_moto(method, path, headers, body, query):
    """Hands a call on as it is."""

    def ask():
        connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in ("content-length", "connection")}
            connection.request(method, path, body=body, headers=kept)
            answer = connection.getresponse()
            return answer.status, {"Content-Type": answer.getheader("Content-Type", "text/xml")}, answer.read()
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


def publish_images():
    """moto knows what is published for Amazon Linux only."""
    for name in IMAGES:
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}
        words = {"Name": name.strip("/").replace("/", "."), "RootDeviceName": "/dev/sda1"}
        made = call("ec2", "register_image", BlockDeviceMappings=[disk], **words)
        # Nobody but AWS may put these, so it is not asked by a call.
        account = os.environ["MINISTACK_ACCOUNT_ID"]
        parameter = Parameter(account, name, made["ImageId"], "String", None, None, None, 0, 1, "text")
        ssm_backends[account][REGION]._parameters[name].append(parameter)


def main():
    for kind, thing in TYPES.items():
        handler = {"create": thing.create, "update": thing.update, "delete": thing.delete}
        if hasattr(thing, "snapshot"):
            handler["snapshot"] = thing.snapshot
        provisioners._RESOURCE_HANDLERS[kind] = handler
    for kind in TAGGED:
        provisioners._STACK_TAG_PROPERTY[f"AWS::EC2::{kind}"] = ("Tags", "list")
    # As AWS's page of the type has it.
    provisioners._REPLACING_PROPERTIES["AWS::EC2::Instance"] = (
        "AvailabilityZone", "ImageId", "KeyName", "NetworkInterfaces", "SubnetId",
    )
    provisioners._CONDITIONALLY_REPLACING_PROPERTIES["AWS::EC2::Instance"] = (
        "BlockDeviceMappings", "InstanceType", "SecurityGroupIds", "UserData",
    )
    for service in OF_MOTO:
        app.SERVICE_HANDLERS[service] = ask_moto
    publish_images()
    app.main()


if __name__ == "__main__":
    main()
