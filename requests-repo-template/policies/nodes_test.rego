package nodes_test

import data.nodes

pool(size, most, capacity) := {"size": size, "min": 1, "max": most, "capacity": capacity}

cluster(pools) := {"resources": [{
	"name": "cluster/main",
	"kind": "Cluster",
	"properties": {"nodePools": pools},
}]}

asked(pools) := {"request": {"after": cluster(pools)}}

changed(before, after) := {"request": {"before": cluster(before), "after": cluster(after)}}

test_pools_that_are_allowed if {
	count(nodes.deny) == 0 with input as asked({"workers": pool("Small", 10, "OnDemand"), "big": pool("Large", 3, "Spot")})
}

test_a_pool_that_is_too_large if {
	some message in nodes.deny with input as asked({"workers": pool("Large", 4, "OnDemand")})
	message.msg == "the pool workers may grow to 4 nodes, and 3 of the size Large are allowed"
}

test_a_pool_that_is_too_large_already_may_shrink if {
	before := {"workers": pool("Large", 6, "OnDemand")}
	count(nodes.deny) == 0 with input as changed(before, {"workers": pool("Large", 5, "OnDemand")})
	count(nodes.deny) == 0 with input as changed(before, before)
	count(nodes.deny) == 1 with input as changed(before, {"workers": pool("Large", 7, "OnDemand")})
}

test_a_pool_that_is_too_large_already_takes_no_other_size if {
	before := {"workers": pool("Small", 12, "OnDemand")}
	count(nodes.deny) == 1 with input as changed(before, {"workers": pool("Large", 4, "OnDemand")})
}

test_all_spot_is_told if {
	count(nodes.warn) == 1 with input as asked({"a": pool("Small", 2, "Spot"), "b": pool("Small", 2, "Spot")})
}

test_some_spot_is_fine if {
	count(nodes.warn) == 0 with input as asked({"a": pool("Small", 2, "OnDemand"), "b": pool("Small", 2, "Spot")})
}

test_a_project_has_no_pools if {
	count(nodes.deny | nodes.warn) == 0 with input as {"request": {"after": {"resources": [{"kind": "Database", "properties": {}}]}}}
}
