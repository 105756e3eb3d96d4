# How much a team may have, in numbers that `limits` of landfall.yaml does not know: here what a request costs.
package quota

# A month's costs from which two admins have to approve, in the currency of the prices in landfall.yaml.
most := 500

approvals contains {
	"role": "admin",
	"count": 2,
	"reason": sprintf("the request would cost %v %s a month, more than %v", [total.after, currency, most]),
} if {
	some currency, total in input.monthly.totals
	total.after > most
	total.after > total.before
}

# A team has at most so many of each.
most_per_team := {"databases": 10, "storages": 20, "virtualMachines": 20}

deny contains message if {
	some what, limit in most_per_team
	input.team.has.after[what] > limit

	# Who has too many already may still ask for fewer.
	input.team.has.after[what] > input.team.has.before[what]
	message := {
		"msg": sprintf("the team %s would have %d %s, and has %d; %d are allowed", [
			input.team.name,
			input.team.has.after[what],
			what,
			input.team.has.before[what],
			limit,
		]),
		"hint": "Delete what is not needed any more, or ask an admin to raise the number in policies/quota.rego.",
	}
}
