"""The sandbox's parts: what it makes and the services that it stands up."""
