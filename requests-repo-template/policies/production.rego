# What holds where people depend on things: in environments with `production: true`.
package production

# Every change there takes two admins.
approvals contains {
	"role": "admin",
	"count": 2,
	"reason": "a change in production takes two admins",
} if {
	input.environment.production
}

# The API server of a cluster is not to be reached from the internet.
deny contains message if {
	input.environment.production
	some resource in input.request.after.resources
	resource.kind == "Cluster"
	resource.properties.apiServer.access == "Public"
	message := {
		"msg": "the API server of a cluster in production is not public",
		"path": "spec.apiServer.access",
		"hint": "Write `access: Private`, and reach it through the VPN.",
	}
}

# Data in production outlives a file that somebody deletes, and the loss of a zone.
deny contains message if {
	input.environment.production
	input.request.after.deletionPolicy == "Delete"
	message := {
		"msg": "what is in production is not destroyed with its file",
		"path": "spec.deletionPolicy",
		"hint": "Write `Snapshot`, or `Retain`.",
	}
}

warn contains message if {
	input.environment.production
	some resource in input.request.after.resources
	resource.kind == "Database"
	resource.properties.availability == "SingleZone"
	message := sprintf("%s does not survive the loss of a zone", [resource.name])
}
