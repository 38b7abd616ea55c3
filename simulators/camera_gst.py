"""A real RTSP server (gst-rtsp-server) with test pictures, for the system's Python: /usr/bin/python3 camera_gst.py.

It prints its port and serves on loopback until its stdin ends. Each path is one picture in H.264 with a key frame every
half second; where a user is given, every path wants his login (digest).

    camera_gst.py [USER PASSWORD]
"""

import sys
from typing import Any

_ENCODE = "videoconvert ! video/x-raw,format=I420,width=640,height=360,framerate=20/1"
_X264 = "x264enc tune=zerolatency key-int-max=10 speed-preset=ultrafast bitrate=2000 ! rtph264pay name=pay0 pt=96"
# Not live: a compositor of live sources begins with a checkerboard where one of them is late.
_CLOCK = (
    "compositor name=mix sink_1::xpos=0 sink_1::ypos=0 sink_1::zorder=5 ! {encode} ! {x264} "
    "videotestsrc pattern=smpte ! video/x-raw,width=640,height=360,framerate=20/1 ! mix.sink_0 "
    "videotestsrc pattern=ball animation-mode=wall-time ! "
    "video/x-raw,width=160,height=20,framerate=20/1 ! mix.sink_1"
)
PICTURES = {
    "/snow": "videotestsrc is-live=true pattern=snow ! {encode} ! {x264}",
    "/black": "videotestsrc is-live=true pattern=black ! {encode} ! {x264}",
    "/frozen": "videotestsrc is-live=true pattern=smpte ! {encode} ! {x264}",
    "/clock": _CLOCK,
}


def main() -> None:
    """Serve until stdin ends."""
    import gi  # type: ignore[import-not-found,unused-ignore]

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found,unused-ignore]

    Gst.init(None)
    server: Any = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    login = sys.argv[1:3]
    if login:
        guard = GstRtspServer.RTSPAuth.new()
        guard.set_supported_methods(2)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        guard.add_digest(login[0], login[1], token)
        server.set_auth(guard)
    for path, picture in PICTURES.items():
        factory: Any = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch("( " + picture.format(encode=_ENCODE, x264=_X264) + " )")
        factory.set_shared(True)
        if login:
            roles = GstRtspServer.RTSPPermissions.new()
            for right in ("media.factory.access", "media.factory.construct"):
                roles.add_permission_for_role("user", right, True)
            factory.set_permissions(roles)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)  # noqa: T201
    loop = GLib.MainLoop()
    GLib.io_add_watch(
        sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, lambda *_: loop.quit()
    )
    loop.run()


if __name__ == "__main__":
    main()
