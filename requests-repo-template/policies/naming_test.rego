package naming_test

import data.naming

asked(kind, name) := {"change": {"kind": kind}, "request": {"after": {"name": name}}}

test_a_clear_name if {
	count(naming.deny) == 0 with input as asked("create", "shop")
}

test_an_unclear_name if {
	count(naming.deny) == 1 with input as asked("create", "tmp")
}

test_a_name_that_is_there_stays if {
	count(naming.deny) == 0 with input as asked("update", "tmp")
}
