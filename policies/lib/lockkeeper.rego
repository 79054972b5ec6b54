# What most policies ask of a plan. Every set of policies can import it: `import data.lockkeeper.lib`.
#
#   lib.plan                   the plan, also where a policy of `package main` sees it bare
#   lib.changes                managed resources the plan would change (no reads, no no-ops)
#   lib.written                of these, those that exist afterwards: created, updated, replaced
#   lib.destroyed              of these, those whose object ends: deleted, replaced
#   lib.config(name, defaults)           the object data.lockkeeper.config[name], its gaps filled from `defaults`
#   lib.misconfigured(name, defaults)    sentences about what stands there and is unknown or of the wrong type
#   lib.unknown(change, key)   whether the value of this attribute is, even in part, known only after apply
#   lib.matches(address, patterns)       whether an address matches one of these globs (`module.legacy.*`)
#   lib.list(object_, key)     object_[key] if that is a list, else []: `some x in null` is an error here
#   lib.entries(object_, key)  object_[key] if that is an object, else {}
#   lib.has_label(label)       whether the pull request carries this label
package lockkeeper.lib

plan := input.plan if {
	is_object(input.plan)
} else := input

changes := [change |
	some change in list(plan, "resource_changes")
	change.mode == "managed"
	count({"create", "update", "delete"} & {action | some action in change.change.actions}) > 0
]

written := [change |
	some change in changes
	count({"create", "update"} & {action | some action in change.change.actions}) > 0
]

destroyed := [change |
	some change in changes
	"delete" in change.change.actions
]

config(name, defaults) := {key: value |
	some key, otherwise in defaults
	value := object.get(given(name), key, otherwise)
}

given(name) := value if {
	value := data.lockkeeper.config[name]
	is_object(value)
} else := {}

# A limit written as a word or a list written as one name would otherwise judge nothing, and nobody would notice.
misconfigured(name, defaults) := [sprintf("data.lockkeeper.config must hold an object at `%s`", [name])] if {
	not is_object(data.lockkeeper.config[name])
	data.lockkeeper.config[name] != {}
} else := array.concat(
	[sprintf("`%s` of data.lockkeeper.config must be of type %s, not %s", [key, type_name(defaults[key]), type_name(value)]) |
		some key, value in given(name)
		type_name(value) != type_name(defaults[key])
	],
	[sprintf("data.lockkeeper.config holds `%s`, which %s does not know; it knows %s", [key, name, concat(", ", object.keys(defaults))]) |
		some key, _ in given(name)
		not key in object.keys(defaults)
	],
)

# `after_unknown` mirrors the attribute with `true` where a part of it is unknown.
unknown(change, key) if {
	walk(object.get(change.change.after_unknown, key, false), [_, true])
}

matches(address, patterns) if address in patterns

matches(address, patterns) if {
	some pattern in patterns
	# null: `*` also stands for what holds a dot.
	glob.match(pattern, null, address)
}

has_label(label) if {
	some carried in list(input.pull_request, "labels")
	lower(carried) == lower(label)
}

list(object_, key) := value if {
	value := object_[key]
	is_array(value)
} else := []

entries(object_, key) := value if {
	value := object_[key]
	is_object(value)
} else := {}
