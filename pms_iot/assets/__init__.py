"""The register of equipment: sites, assets in a tree, their points, documents and gateways."""
