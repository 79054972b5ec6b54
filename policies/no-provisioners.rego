# No resource runs a provisioner: programs started beside the plan, whose work is in no state and no review.
#
# Looked at: the configuration of the root module and of every module it calls, whether or not the resource changes.
# A provisioner runs when its resource is created or destroyed, so it counts before that, too.
#
# data.lockkeeper.config["no-provisioners"]:
#   allow:   types that may be used         []   (for example ["file"])
#   exempt:  globs of resource addresses    []
package lockkeeper.plan.no_provisioners

import data.lockkeeper.lib

defaults := {"allow": [], "exempt": []}

config := lib.config("no-provisioners", defaults)

deny contains {"msg": problem} if some problem in lib.misconfigured("no-provisioners", defaults)

deny contains {"msg": sprintf("%s runs a `%s` provisioner", [address, provisioner.type]), "address": address} if {
	some [path, resource] in provisioned
	some provisioner in lib.list(resource, "provisioners")
	not provisioner.type in config.allow
	address := concat(".", array.concat(modules(path), [resource.address]))
	not lib.matches(address, config.exempt)
}

deny contains {"msg": "the plan does not show its configuration, so nobody can tell whether it runs provisioners"} if {
	not lib.plan.configuration.root_module
}

provisioned := [[path, resource] |
	walk(lib.plan.configuration.root_module, [path, resource])
	count(path) > 1
	path[count(path) - 2] == "resources"
	count(lib.list(resource, "provisioners")) > 0
]

# `module_calls.network.module.resources.0` stands in `module.network`.
modules(path) := [part |
	some at, word in path
	word == "module_calls"
	at % 3 == 0
	part := concat(".", ["module", path[at + 1]])
]
