"""Internet, mobile and public wifi, as somebody in the hamlet meets them."""
