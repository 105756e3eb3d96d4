# Where things may be. Environments are defined in landfall.yaml, so this holds against a slip there.
package regions

allowed := {"eu-central-1", "eu-west-1", "germanywestcentral"}

deny contains message if {
	# What is deleted may be anywhere.
	input.request.after
	not input.environment.region in allowed
	message := {
		"msg": sprintf("the environment %s is not in a region that is allowed", [input.environment.name]),
		"hint": sprintf("Take an environment in one of %s.", [concat(", ", sort(allowed))]),
	}
}
