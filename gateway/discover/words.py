"""What is said about a whole search. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.discover.finding import Finding, Standing, Unsearched
from gateway.language import Text

STANDINGS: Final = {
    Standing.NEW: Text("+ mới", "+ new"),
    Standing.HAND: Text("! cần điền thêm", "! to be completed by hand"),
    Standing.KNOWN: Text("= đã có trong cấu hình", "= configured already"),
    Standing.SEEN: Text("· chỉ để biết", "· for information"),
}
_LEFT: Final = Text("? không tìm được", "? not searched")


def summary(found: Sequence[Finding], left: Sequence[Unsearched]) -> Text:
    """Return the counts, with what the signs mean."""
    counts = Counter(one.standing for one in found)
    parts = [(words, counts[standing]) for standing, words in STANDINGS.items() if counts[standing]]
    parts += [(_LEFT, len(left))] if left else []
    if not parts:
        return Text("không tìm thấy gì", "nothing was found")
    return Text(
        ", ".join(f"{words.vi}: {count}" for words, count in parts),
        ", ".join(f"{words.en}: {count}" for words, count in parts),
    )


def advice_on_logins(names: Sequence[str]) -> Text:
    """Say which logins the installer has to add, and how: where nobody else reads them, and no history keeps them."""
    entries = "\n".join(f'    [{name}]\n    username = "…"\n    password = "…"' for name in names)
    return Text(
        "Mật khẩu không ghi vào cấu hình. Với mỗi camera: thêm mục dưới đây vào tệp mà [probes] credentials nêu\n"
        "(sudoedit /etc/xom/credentials.toml; chmod 600, chủ là người dùng xom), rồi bỏ dấu # trước dòng credentials:\n"
        f"{entries}",
        "Passwords are not written into the configuration. For each camera add this entry to the file that\n"
        "[probes] credentials names (sudoedit /etc/xom/credentials.toml; chmod 600, owned by the user xom), then take\n"
        f"the # off its line credentials:\n{entries}",
    )
