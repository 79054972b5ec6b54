terraform {
  backend "local" {}
}

data "terraform_remote_state" "net" {
  backend = "local"
  config = {
    path = "${path.module}/../network/terraform.tfstate"
  }
}

locals {
  cidr   = data.terraform_remote_state.net.outputs.cidr
  vpc    = data.terraform_remote_state.net.outputs.vpc_id
  nested = { a = { b = [local.vpc, local.cidr] } }
  all    = data.terraform_remote_state.net.outputs
}

# shape: a known attribute
resource "terraform_data" "known" {
  input = data.terraform_remote_state.net.outputs.cidr
}

# shape: an unknown attribute
resource "terraform_data" "unknown" {
  input = data.terraform_remote_state.net.outputs.vpc_id
}

# shape: by index, known
resource "terraform_data" "index" {
  input = data.terraform_remote_state.net.outputs["cidr"]
}

# shape: by index, unknown
resource "terraform_data" "index_unknown" {
  input = data.terraform_remote_state.net.outputs["vpc_id"]
}

# shape: in a template, known
resource "terraform_data" "template" {
  input = "x-${data.terraform_remote_state.net.outputs.cidr}-y"
}

# shape: in a template, unknown
resource "terraform_data" "template_unknown" {
  input = "x-${data.terraform_remote_state.net.outputs.vpc_id}-y"
}

# shape: a template with directives
resource "terraform_data" "directives" {
  input = "%{for name in data.terraform_remote_state.net.outputs.names}${name},%{endfor}%{if data.terraform_remote_state.net.outputs.on}on%{else}off%{endif}"
}

# shape: a heredoc
resource "terraform_data" "heredoc" {
  input = <<-EOT
    cidr ${data.terraform_remote_state.net.outputs.cidr}
    port ${data.terraform_remote_state.net.outputs.port}
  EOT
}

# shape: try, known
resource "terraform_data" "tried" {
  input = try(data.terraform_remote_state.net.outputs.cidr, "none")
}

# shape: try, unknown
resource "terraform_data" "tried_unknown" {
  input = try(data.terraform_remote_state.net.outputs.vpc_id, "none")
}

# shape: can
resource "terraform_data" "can" {
  input = can(data.terraform_remote_state.net.outputs.vpc.deep.list[0])
}

# shape: a function of a known value
resource "terraform_data" "function" {
  input = cidrsubnet(data.terraform_remote_state.net.outputs.cidr, 8, 1)
}

# shape: a function of an unknown value
resource "terraform_data" "function_unknown" {
  input = upper(data.terraform_remote_state.net.outputs.vpc_id)
}

# shape: through a local
resource "terraform_data" "local" {
  input = local.cidr
}

# shape: through a local of a local
resource "terraform_data" "local_nested" {
  input = local.nested.a.b
}

# shape: through a local that holds all outputs
resource "terraform_data" "local_all" {
  input = [local.all.cidr, local.all.vpc_id, local.all["same"]]
}

# shape: the names of all outputs
resource "terraform_data" "names_of_all" {
  input = sort(keys(data.terraform_remote_state.net.outputs))
}

# shape: a partly unknown list
resource "terraform_data" "list" {
  input = data.terraform_remote_state.net.outputs.subnet_ids
}

# shape: a known element of a partly unknown list
resource "terraform_data" "element" {
  input = data.terraform_remote_state.net.outputs.subnet_ids[0]
}

# shape: the length of a partly unknown list
resource "terraform_data" "length" {
  input = length(data.terraform_remote_state.net.outputs.subnet_ids)
}

# shape: count over a partly unknown list
resource "terraform_data" "count_partly" {
  count = length(data.terraform_remote_state.net.outputs.subnet_ids)
  input = data.terraform_remote_state.net.outputs.subnet_ids[count.index]
}

# shape: for over a partly unknown list
resource "terraform_data" "for_partly" {
  input = [for index, id in data.terraform_remote_state.net.outputs.subnet_ids : "${index}-${id}"]
}

# shape: an element of an unknown list
resource "terraform_data" "element_unknown" {
  input = data.terraform_remote_state.net.outputs.list[1]
}

# shape: for over an unknown list
resource "terraform_data" "for_unknown" {
  input = [for name in data.terraform_remote_state.net.outputs.list : upper(name)]
}

# shape: a splat over an unknown list
resource "terraform_data" "splat_unknown" {
  input = data.terraform_remote_state.net.outputs.list[*]
}

# shape: the length of an unknown list
resource "terraform_data" "length_unknown" {
  input = length(data.terraform_remote_state.net.outputs.list)
}

# shape: a partly unknown object
resource "terraform_data" "object" {
  input = data.terraform_remote_state.net.outputs.vpc
}

# shape: a known attribute of a partly unknown object
resource "terraform_data" "object_known" {
  input = data.terraform_remote_state.net.outputs.vpc.cidr
}

# shape: an unknown attribute of a partly unknown object
resource "terraform_data" "object_unknown" {
  input = data.terraform_remote_state.net.outputs.vpc.id
}

# shape: deep in a partly unknown object
resource "terraform_data" "object_deep" {
  input = data.terraform_remote_state.net.outputs.vpc.deep.list
}

# shape: a partly unknown object as JSON
resource "terraform_data" "json" {
  input = jsonencode(data.terraform_remote_state.net.outputs.vpc)
}

# shape: a map
resource "terraform_data" "map" {
  input = data.terraform_remote_state.net.outputs.tags
}

# shape: a key of a map
resource "terraform_data" "map_key" {
  input = "${data.terraform_remote_state.net.outputs.tags["env"]} ${data.terraform_remote_state.net.outputs.tags.team}"
}

# shape: a map merged with an unknown
resource "terraform_data" "merged" {
  input = merge(data.terraform_remote_state.net.outputs.tags, { vpc = data.terraform_remote_state.net.outputs.vpc_id })
}

# shape: a set
resource "terraform_data" "set" {
  input = data.terraform_remote_state.net.outputs.zones
}

# shape: a set passed to for_each
resource "terraform_data" "each_set" {
  for_each = data.terraform_remote_state.net.outputs.zones
  input    = each.key
}

# shape: a list made a set for for_each
resource "terraform_data" "each_list" {
  for_each = toset(data.terraform_remote_state.net.outputs.names)
  input    = "${each.key}-${data.terraform_remote_state.net.outputs.vpc_id}"
}

# shape: known keys with unknown values in for_each
resource "terraform_data" "each_partly" {
  for_each = data.terraform_remote_state.net.outputs.subnets
  input    = each.value
}

# shape: count by a condition
resource "terraform_data" "count_on" {
  count = data.terraform_remote_state.net.outputs.on ? 1 : 0
  input = data.terraform_remote_state.net.outputs.port
}

# shape: what leaves when a condition turns
resource "terraform_data" "count_off" {
  count = data.terraform_remote_state.net.outputs.on ? 0 : 1
}

# shape: a replacement by an unknown
resource "terraform_data" "replaced_unknown" {
  triggers_replace = data.terraform_remote_state.net.outputs.vpc_id
}

# shape: a replacement by a known value
resource "terraform_data" "replaced" {
  triggers_replace = [data.terraform_remote_state.net.outputs.cidr]
}

# shape: nothing to do for an unchanged output
resource "terraform_data" "same" {
  input = data.terraform_remote_state.net.outputs.same
}

# shape: nothing to do for a computed output that stays
resource "terraform_data" "kept" {
  input = "${data.terraform_remote_state.net.outputs.keep_id}!"
}

# shape: a tuple
resource "terraform_data" "tuple" {
  input = [data.terraform_remote_state.net.outputs.pair, data.terraform_remote_state.net.outputs.pair[1] + 1]
}

# shape: an empty list
resource "terraform_data" "empty" {
  input = length(data.terraform_remote_state.net.outputs.empty) == 0 ? "none" : "some"
}

# shape: a text with quotes and dollars
resource "terraform_data" "quoted" {
  input = data.terraform_remote_state.net.outputs.quoted
}

# shape: arithmetic
resource "terraform_data" "arithmetic" {
  input = data.terraform_remote_state.net.outputs.port * 2 + 1
}

# shape: a choice by an unknown
resource "terraform_data" "choice" {
  input = data.terraform_remote_state.net.outputs.vpc_id == "x" ? "a" : "b"
}

# shape: a choice by a known value between unknowns
resource "terraform_data" "choice_known" {
  input = data.terraform_remote_state.net.outputs.on ? data.terraform_remote_state.net.outputs.vpc_id : "off"
}

# shape: whether an unknown is null
resource "terraform_data" "null_or_not" {
  input = data.terraform_remote_state.net.outputs.vpc_id == null
}

# shape: coalesce and lookup
resource "terraform_data" "coalesced" {
  input = coalesce(lookup(data.terraform_remote_state.net.outputs.tags, "none", null), data.terraform_remote_state.net.outputs.cidr)
}

# shape: flatten, concat and zipmap
resource "terraform_data" "combined" {
  input = zipmap(
    flatten([["k"], concat(data.terraform_remote_state.net.outputs.names)]),
    concat([data.terraform_remote_state.net.outputs.vpc_id], data.terraform_remote_state.net.outputs.names),
  )
}

# shape: a secret of the upstream
resource "terraform_data" "secret" {
  input = { password = data.terraform_remote_state.net.outputs.password, port = data.terraform_remote_state.net.outputs.port }
}

# shape: depends_on the state that is read
resource "terraform_data" "after" {
  input      = "after"
  depends_on = [data.terraform_remote_state.net]
}

# shape: a resource on a resource
resource "terraform_data" "second" {
  input = terraform_data.known.output
}

# shape: replaced together with another
resource "terraform_data" "together" {
  lifecycle {
    replace_triggered_by = [terraform_data.replaced]
  }
}

# shape: a condition on an unknown
resource "terraform_data" "conditions" {
  input = data.terraform_remote_state.net.outputs.cidr
  lifecycle {
    precondition {
      condition     = data.terraform_remote_state.net.outputs.vpc_id != "forbidden"
      error_message = "no: ${data.terraform_remote_state.net.outputs.vpc_id}"
    }
    precondition {
      condition     = startswith(data.terraform_remote_state.net.outputs.cidr, "10.")
      error_message = "no"
    }
  }
}

# shape: a check on an unknown
check "network" {
  assert {
    condition     = data.terraform_remote_state.net.outputs.vpc_id != "forbidden"
    error_message = "no"
  }
}

# shape: an argument of a module
module "argument" {
  source = "../../modules/taker"
  cidr   = data.terraform_remote_state.net.outputs.cidr
  id     = data.terraform_remote_state.net.outputs.vpc_id
  vpc    = data.terraform_remote_state.net.outputs.vpc
  zones  = data.terraform_remote_state.net.outputs.subnet_ids
}

# shape: a module for each element of a set
module "each" {
  source   = "../../modules/taker"
  for_each = data.terraform_remote_state.net.outputs.zones
  cidr     = each.key
  id       = data.terraform_remote_state.net.outputs.vpc_id
  vpc      = { id = "own" }
  zones    = []
}

# shape: a module that reads the state itself, and one below it
module "reader" {
  source = "../../modules/reader"
}

# shape: an output of a module that reads the state itself
resource "terraform_data" "of_reader" {
  input = [module.reader.id, module.reader.cidr]
}

# shape: a variable that is given a known value of another type
variable "fed_port" {
  type = string
}

resource "terraform_data" "fed_port" {
  input = "port ${var.fed_port}"
}

# shape: a variable that is given an unknown
variable "fed_id" {
  type        = string
  description = "an id"
}

resource "terraform_data" "fed_id" {
  input = "id ${var.fed_id}"
}

# shape: a variable that is given a partly unknown object, with optional attributes
variable "fed_vpc" {
  type = object({
    id    = string
    cidr  = optional(string, "none")
    extra = optional(string, "default")
  })
}

resource "terraform_data" "fed_vpc" {
  input = var.fed_vpc
}

# shape: a variable that is given a list for a set
variable "fed_names" {
  type = set(string)
}

resource "terraform_data" "fed_names" {
  for_each = var.fed_names
  input    = each.key
}

# shape: a variable with a validation that is given an unknown
variable "fed_valid" {
  type = string
  validation {
    condition     = length(var.fed_valid) > 3
    error_message = "too short"
  }
}

resource "terraform_data" "fed_valid" {
  input = var.fed_valid
}

# shape: a variable that is given an unknown list
variable "fed_list" {
  type = list(string)
}

resource "terraform_data" "fed_list" {
  input = [for name in var.fed_list : "${name}!"]
}

# shape: a sensitive variable
variable "fed_password" {
  type      = string
  sensitive = true
}

resource "terraform_data" "fed_password" {
  input = var.fed_password
}

# shape: outputs that flow on
output "flows_known" {
  value = data.terraform_remote_state.net.outputs.cidr
}

output "flows_unknown" {
  value = terraform_data.unknown.output
}

output "flows_partly" {
  value = { vpc = data.terraform_remote_state.net.outputs.vpc, own = "x" }
}

output "flows_same" {
  value = data.terraform_remote_state.net.outputs.same
}

output "flows_list" {
  value = data.terraform_remote_state.net.outputs.subnet_ids
}

output "flows_of_module" {
  value = module.reader.id
}

output "flows_set" {
  value = data.terraform_remote_state.net.outputs.zones
}
