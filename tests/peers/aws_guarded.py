"""ministack, an AWS that others wrote, asking who calls and what they may do, and judging two things as AWS does and it
does not yet: the condition key cloudformation:ChangeSetName, and that what AWS itself publishes in SSM belongs to no
account. Its settings are ministack's: AUTH, BIND_HOST, GATEWAY_PORT, MINISTACK_HOST, MINISTACK_ACCOUNT_ID."""

from ministack.app import main
from ministack.core import iam_actions

context_of = iam_actions.request_tag_context
resource_of = iam_actions.extract_resource_arn


def context(service, action, body, parameters):
    known = context_of(service, action, body, parameters)
    name = iam_actions._query_param(parameters, "ChangeSetName") if service == "cloudformation" else ""
    return {**known, "cloudformation:ChangeSetName": name} if name else known


def resource(*arguments):
    known = resource_of(*arguments)
    account, published = arguments[-1], ":parameter/aws/service/"
    return known.replace(f":{account}{published}", f":{published}")


iam_actions.request_tag_context = context
iam_actions.extract_resource_arn = resource

if __name__ == "__main__":
    main()
