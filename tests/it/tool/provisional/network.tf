terraform {
  backend "local" {}
}

locals {
  first = "VERSION" == "1"
}

resource "terraform_data" "vpc" {
  triggers_replace = local.first
}

resource "terraform_data" "keep" {
  input = "kept"
}

resource "terraform_data" "subnet" {
  for_each = toset(local.first ? ["a"] : ["a", "b"])
  input    = each.key
}

resource "terraform_data" "listing" {
  input = jsonencode(["l-VERSION", "m"])
}

output "cidr" {
  value = local.first ? "10.0.0.0/16" : "10.9.0.0/16"
}

output "same" {
  value = "eu-central-1"
}

output "vpc_id" {
  value = terraform_data.vpc.id
}

output "keep_id" {
  value = terraform_data.keep.id
}

output "port" {
  value = local.first ? 80 : 443
}

output "on" {
  value = !local.first
}

output "zones" {
  value = toset(local.first ? ["a"] : ["b", "a"])
}

output "names" {
  value = tolist(local.first ? ["n1"] : ["n2", "n1"])
}

output "pair" {
  value = ["x", local.first ? 1 : 2, true]
}

output "tags" {
  value = tomap({ env = "VERSION", team = "net" })
}

output "list" {
  value = jsondecode(terraform_data.listing.output)
}

output "subnet_ids" {
  value = values(terraform_data.subnet)[*].id
}

output "subnets" {
  value = { for key, subnet in terraform_data.subnet : key => subnet.id }
}

output "vpc" {
  value = {
    id   = terraform_data.vpc.id
    cidr = local.first ? "10.0.0.0/16" : "10.9.0.0/16"
    deep = { list = [terraform_data.vpc.id, "k"] }
  }
}

output "quoted" {
  value = "a \"b\" $${c} %%{d} \\ \n é"
}

output "empty" {
  value = []
}

output "password" {
  value     = "hunter2hunterVERSION"
  sensitive = true
}
