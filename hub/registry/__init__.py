"""Who is enrolled and what stands where: administrative units, gateways with their keys, sources with their places."""
