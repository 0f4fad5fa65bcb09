"""A stage as one Terraform root module: `make terraform`.

`main.tf` and `versions_override.tf` are the parts that every stage shares; `root` writes the rest.
"""
