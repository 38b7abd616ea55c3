"""Health: from measurements to verdicts and figures. Pure: no socket, no file, no clock."""
