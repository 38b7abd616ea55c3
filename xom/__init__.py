"""The one command `xom`: it joins the rooms, and no room imports it."""
