"""Frame to reading: device profiles, the JavaScript engine, and the killable worker that runs it."""
