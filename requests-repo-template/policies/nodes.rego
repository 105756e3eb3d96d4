# How clusters may grow, pool by pool; the sum is limited in landfall.yaml.
package nodes

# The most nodes of a pool, by size.
most := {"Small": 10, "Medium": 5, "Large": 3}

pools_of(request) := {{"name": name, "size": pool.size, "max": pool.max, "capacity": pool.capacity} |
	some resource in request.resources
	resource.kind == "Cluster"
	some name, pool in resource.properties.nodePools
}

pools := pools_of(input.request.after)

# One that is too large already may stay or shrink.
was_as_large(pool) if {
	some before in pools_of(input.request.before)
	before.name == pool.name
	before.size == pool.size
	before.max >= pool.max
}

deny contains message if {
	some pool in pools
	pool.max > most[pool.size]
	not was_as_large(pool)
	message := {
		"msg": sprintf("the pool %s may grow to %d nodes, and %d of the size %s are allowed", [
			pool.name,
			pool.max,
			most[pool.size],
			pool.size,
		]),
		"path": sprintf("spec.nodePools.%s.max", [pool.name]),
		"hint": "Lower `max`, or take a smaller size.",
	}
}

# A cluster whose nodes can all be taken away at once is worth a look.
warn contains "all nodes are spot: the cloud may take all of them away at once" if {
	count(pools) > 0
	every pool in pools {
		pool.capacity == "Spot"
	}
}
