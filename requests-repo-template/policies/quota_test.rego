package quota_test

import data.quota

usage(machines) := {"databases": 1, "storages": 0, "virtualMachines": machines}

team(before, after) := {"name": "web-team", "has": {"before": usage(before), "after": usage(after)}}

monthly(before, after) := {"totals": {"EUR": {"before": before, "after": after}}}

test_within_the_quota if {
	count(quota.deny) == 0 with input as {"team": team(19, 20)}
}

test_over_the_quota if {
	some message in quota.deny with input as {"team": team(20, 21)}
	message.msg == "the team web-team would have 21 virtualMachines, and has 20; 20 are allowed"
}

test_over_the_quota_and_going_down if {
	count(quota.deny) == 0 with input as {"team": team(25, 24)}
}

test_cheap_needs_nobody_more if {
	count(quota.approvals) == 0 with input as {"monthly": monthly(0, 500)}
}

test_expensive_needs_two if {
	some approval in quota.approvals with input as {"monthly": monthly(100, 500.5)}
	approval.count == 2
}

test_cheaper_than_before_needs_nobody_more if {
	count(quota.approvals) == 0 with input as {"monthly": monthly(900, 800)}
}
