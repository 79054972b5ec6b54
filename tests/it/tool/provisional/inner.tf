data "terraform_remote_state" "net" {
  backend = "local"
  config = {
    path = "${path.root}/../network/terraform.tfstate"
  }
}

resource "terraform_data" "read" {
  input = "${data.terraform_remote_state.net.outputs.same} ${data.terraform_remote_state.net.outputs.vpc_id}"
}
