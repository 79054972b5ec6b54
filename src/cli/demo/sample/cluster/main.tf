terraform {
  backend "local" {}
}

data "terraform_remote_state" "network" {
  backend = "local"
  config  = { path = "../network/terraform.tfstate" }
}

resource "terraform_data" "pool" {
  for_each = data.terraform_remote_state.network.outputs.subnets
  input = {
    subnet = each.value
    nodes  = 3
  }
}

output "endpoint" {
  value = "https://${cidrhost(terraform_data.pool["a"].output.subnet, 10)}:6443"
}
