package regions_test

import data.regions

asked(environment) := {"request": {"after": {}}, "environment": environment}

test_an_allowed_region if {
	count(regions.deny) == 0 with input as asked({"name": "dev", "region": "eu-central-1"})
}

test_another_region if {
	some message in regions.deny with input as asked({"name": "far", "region": "us-east-1"})
	message.msg == "the environment far is not in a region that is allowed"
}

test_an_environment_without_a_region if {
	count(regions.deny) == 1 with input as asked({"name": "nowhere"})
}

test_a_deletion if {
	count(regions.deny) == 0 with input as {"request": {"before": {}}, "environment": {"name": "far", "region": "us-east-1"}}
}
