"""Holds the rights of the applying role against what CloudFormation itself says that it needs: each type's schema, which
cfn-lint has, names the rights that its handlers call with. Reads {"roles": TEMPLATE, "types": [TYPE]} and writes
{"missing": [RIGHT of HANDLER], "idle": [RIGHT], "sizes": {POLICY: CHARACTERS}}."""

import fnmatch
import glob
import json
import os
import sys

import cfnlint
import yaml

# What handlers call for properties that none of our templates has; each is left out on purpose.
PROPERTIES = """
    autoscaling:DescribeTags ec2:AcceptAddressTransfer ec2:*PrivateNatGatewayAddress ec2:*NatGatewayAddress
    ec2:*SubnetCidrBlock ec2:AttachVolume ec2:DetachVolume ec2:AttachVpnGateway ec2:DetachVpnGateway ec2:CreateKeyPair
    ec2:CreateVpcEncryptionControl ec2:ModifyInstanceCreditSpecification ec2:ModifyInstanceMaintenanceOptions
    ec2:ModifyInstancePlacement ec2:ModifyPrivateDnsNameOptions ec2:ModifyVpcTenancy eks:ActivateCertificateAuthority
    firehose:TagDeliveryStream iam:*RolePermissionsBoundary iam:ListRoles iam:UpdateRoleDescription kms:DisableKey
    kms:EnableKey logs:DeleteIndexPolicy logs:DeleteResourcePolicy logs:DeleteRetentionPolicy
    logs:PutBearerTokenAuthentication logs:PutDataProtectionPolicy logs:PutIndexPolicy logs:PutLogGroupDeletionProtection
    logs:PutResourcePolicy rds:*RoleToDBInstance rds:*RoleFromDBInstance rds:CreateDBInstanceReadReplica
    rds:PromoteReadReplica rds:RestoreDBInstance* rds:*DBInstanceAutomatedBackupsReplication s3:*MetadataTable*
    s3:*Analytics* s3:*Cors s3:PutBucketCORS s3:DeleteBucketEncryption s3:DeleteBucketLifecycle s3:*MetricsConfiguration
    s3:*Replication* s3:*BucketWebsite s3:DeleteObject s3:PutAccelerateConfiguration s3:PutBucketAbac s3:PutBucketAcl
    s3:PutBucketNotification s3:Put*ObjectLockConfiguration s3:PutIntelligentTieringConfiguration
    s3:PutInventoryConfiguration s3:PutObjectAcl s3:REST.PUT.OBJECT s3:UpdateBucketMetadata* s3tables:*
    ssm:CreateAssociation ssm:DeleteAssociation ssm:PutParameter vpc-lattice:* vpce:AllowMultiRegion
""".split()
# What Landfall itself calls, or AWS for it behind CloudFormation, and no handler names.
OTHERS = """
    cloudformation:* ec2:DescribeImages ec2:GetLaunchTemplateData kms:Decrypt kms:GenerateDataKey
""".split()


class Loader(yaml.SafeLoader):
    """Reads a template, of whose functions only the first argument matters here."""


def function(loader, suffix, node):
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else loader.construct_sequence(node)


Loader.add_multi_constructor("!", function)


def listed(value):
    return [value] if isinstance(value, str) else value


def is_in(right, patterns):
    return any(fnmatch.fnmatch(right.lower(), pattern.lower()) for pattern in patterns)


def handlers(types):
    """Right → the handlers that need it."""
    needed = {}
    for file in glob.glob(os.path.join(os.path.dirname(cfnlint.__file__), "data/schemas/resources/*.json")):
        with open(file) as text:
            schema = json.load(text)
        if schema.get("typeName") not in types:
            continue
        for name, handler in schema.get("handlers", {}).items():
            # Nothing is ever listed.
            for right in handler.get("permissions", []) if name != "list" else []:
                needed.setdefault(right, set()).add(f"{schema['typeName']} {name}")
    return needed


def main():
    asked = json.load(sys.stdin)
    policies = {
        name: one["Properties"]["PolicyDocument"]
        for name, one in yaml.load(asked["roles"], Loader)["Resources"].items()
        if one["Type"] == "AWS::IAM::ManagedPolicy"
    }
    statements = [one for policy in policies.values() for one in policy["Statement"] if one["Effect"] == "Allow"]
    allowed = [right for one in statements for right in listed(one["Action"])]
    needed = handlers(set(asked["types"]))
    json.dump(
        {
            "missing": sorted(
                f"{right} for {', '.join(sorted(of))}"
                for right, of in needed.items()
                if not is_in(right, allowed) and not is_in(right, PROPERTIES)
            ),
            "idle": sorted(
                right for right in allowed if not is_in(right, OTHERS) and not any(is_in(one, [right]) for one in needed)
            ),
            "needed": len(needed),
            # AWS does not count white space.
            "sizes": {name: len(json.dumps(policy, separators=(",", ":"))) for name, policy in policies.items()},
        },
        sys.stdout,
    )


main()
