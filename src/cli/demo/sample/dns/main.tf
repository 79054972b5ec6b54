terraform {
  backend "local" {}
}

resource "terraform_data" "record" {
  input = { name = "shop.example", points_to = "192.0.2.10" }
}
