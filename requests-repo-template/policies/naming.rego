# How requests are named: they stand in the clouds' own names and in bills.
package naming

# A name that says what it is for.
unclear := {"test", "tmp", "temp", "foo", "bar", "new", "project", "cluster"}

deny contains message if {
	input.change.kind == "create"
	input.request.after.name in unclear
	message := {
		"msg": sprintf("`%s` does not say what it is for", [input.request.after.name]),
		"path": "metadata.name",
		"hint": "Take a name that somebody else understands in a year.",
	}
}
