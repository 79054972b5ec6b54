data "terraform_remote_state" "net" {
  backend = "local"
  config = {
    path = "${path.root}/../network/terraform.tfstate"
  }
}

module "inner" {
  source = "./inner"
}

resource "terraform_data" "read" {
  input = [data.terraform_remote_state.net.outputs.cidr, data.terraform_remote_state.net.outputs.vpc_id]
}

output "id" {
  value = data.terraform_remote_state.net.outputs.vpc_id
}

output "cidr" {
  value = data.terraform_remote_state.net.outputs.cidr
}
