# Every cloud resource that can carry tags or labels carries the required ones.
#
# Looked at: resources that are created or changed, whose type starts with one of `types` and that have an attribute
# `tags`, `tags_all` (with the provider's default tags), `tag` (auto scaling groups), `labels` or `effective_labels`.
# An empty value counts as missing. Labels are compared in lower case, which is all that Google allows.
# What is known only after apply is warned of.
#
# data.lockkeeper.config["required-tags"]:
#   tags:    names that must be there                  ["owner", "environment"]
#   types:   beginnings of resource types              ["aws_", "azurerm_", "google_"]
#   exempt:  globs of addresses that need none         []
package lockkeeper.plan.required_tags

import data.lockkeeper.lib

defaults := {
	"tags": ["owner", "environment"],
	"types": ["aws_", "azurerm_", "google_"],
	"exempt": [],
}

config := lib.config("required-tags", defaults)

deny contains {"msg": problem} if some problem in lib.misconfigured("required-tags", defaults)

deny contains {"msg": sprintf("%s has no tag `%s`", [change.address, name]), "address": change.address} if {
	some change in taggable
	not open(change)
	some name in missing(change)
}

warn contains {"msg": sprintf("%s: whether it has a tag `%s` is known only after apply", [change.address, name]), "address": change.address} if {
	some change in taggable
	open(change)
	some name in missing(change)
}

taggable := [change |
	some change in lib.written
	strings.any_prefix_match(change.type, config.types)
	not settled(change)
	carries(change)
	not lib.matches(change.address, config.exempt)
]

# Most resources: everything stands in one place. The rest of this file is for the others.
settled(change) if {
	some key in ["tags_all", "tags", "labels"]
	given := lib.entries(change.change.after, key)
	every name in config.tags { filled(given[name]) }
}

attributes := {"tags", "tags_all", "tag", "labels", "effective_labels"}

# A plain list of words is no set of tags: names and values cannot be told apart in it.
carries(change) if {
	some key in attributes
	value := change.change.after[key]
	not list_of_words(value)
}

carries(change) if {
	some key in attributes
	change.change.after_unknown[key]
}

list_of_words(value) if {
	is_array(value)
	every item in value { is_string(item) }
	count(value) > 0
}

missing(change) := [name |
	tagged := tags(change)
	labelled := labels(change)
	some name in config.tags
	not name in tagged
	not lower(name) in labelled
]

tags(change) := (in_tags | in_blocks) | unknown_values if {
	in_tags := {name | some key in ["tags", "tags_all"]; some name, value in lib.entries(change.change.after, key); filled(value)}
	in_blocks := {block.key | some block in lib.list(change.change.after, "tag"); filled(block.value)}
	unknown_values := {name | some key in ["tags", "tags_all"]; some name, true in lib.entries(change.change.after_unknown, key)}
}

labels(change) := known | unknown_values if {
	known := {name | some key in ["labels", "effective_labels"]; some name, value in lib.entries(change.change.after, key); filled(value)}
	unknown_values := {name | some key in ["labels", "effective_labels"]; some name, true in lib.entries(change.change.after_unknown, key)}
}

filled(value) if {
	is_string(value)
	trim_space(value) != ""
}

# The whole of an attribute is unknown, so it may hold anything.
open(change) if {
	some key in attributes
	change.change.after_unknown[key] == true
}
