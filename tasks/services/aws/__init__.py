"""AWS: whose account, its container registries (ECR, ECR Public) and how to log in to them."""
