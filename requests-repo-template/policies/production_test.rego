package production_test

import data.production

cluster(access) := {"name": "cluster/main", "kind": "Cluster", "properties": {"apiServer": {"access": access}}}

database(availability) := {
	"name": "database/orders",
	"kind": "Database",
	"properties": {"availability": availability},
}

asked(is_production, resource) := {
	"environment": {"name": "prod", "production": is_production},
	"request": {"after": {"deletionPolicy": "Retain", "resources": [resource]}},
}

test_production_takes_two_admins if {
	some approval in production.approvals with input as asked(true, database("MultiZone"))
	approval.role == "admin"
	approval.count == 2
}

test_a_deletion_takes_two_admins if {
	count(production.approvals) == 1 with input as {"environment": {"production": true}, "request": {}}
}

test_elsewhere_the_rules_decide if {
	count(production.approvals) == 0 with input as asked(false, database("SingleZone"))
}

test_no_public_api_server if {
	some message in production.deny with input as asked(true, cluster("Public"))
	message.path == "spec.apiServer.access"
}

test_a_private_api_server if {
	count(production.deny) == 0 with input as asked(true, cluster("Private"))
}

test_a_public_api_server_elsewhere if {
	count(production.deny) == 0 with input as asked(false, cluster("Public"))
}

test_nothing_is_destroyed_with_its_file if {
	some message in production.deny with input as {
		"environment": {"production": true},
		"request": {"after": {"deletionPolicy": "Delete", "resources": []}},
	}
	message.path == "spec.deletionPolicy"
}

test_one_zone_is_told if {
	production.warn == {"database/orders does not survive the loss of a zone"} with input as asked(true, database("SingleZone"))
}

test_several_zones_are_fine if {
	count(production.warn) == 0 with input as asked(true, database("MultiZone"))
}
