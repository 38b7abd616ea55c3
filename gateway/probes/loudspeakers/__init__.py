"""Loudspeaker clusters: reachable, linked to the station, played, heard."""
