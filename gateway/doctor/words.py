"""What every reason means to somebody who stands in front of the thing, and what to do about it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.language import Text
from gateway.probes.outcome import Reason, State


class Advice(NamedTuple):
    """What is wrong, and what to do."""

    what: Text
    remedy: Text


STATES: Final = {
    State.OK: Text("tốt", "works"),
    State.DEGRADED: Text("chạy nhưng có lỗi", "works, with a fault"),
    State.FAIL: Text("hỏng", "does not work"),
    State.UNKNOWN: Text("chưa rõ", "not known"),
}


def _advice(what_vi: str, what_en: str, remedy_vi: str, remedy_en: str) -> Advice:
    return Advice(Text(what_vi, what_en), Text(remedy_vi, remedy_en))


REASONS: Final[dict[Reason, Advice]] = {
    Reason.NONE: _advice("hoạt động bình thường", "it works", "", ""),
    Reason.OVERRUN: _advice(
        "chưa đến lượt đo: thiết bị dùng chung đường dây phản hồi quá chậm",
        "its turn never came: what it shares a line with answers too slowly",
        "xem các thiết bị khác cùng cổng; tháo hoặc sửa thiết bị không trả lời",
        "look at the other devices on that line; mend or remove the one that is silent",
    ),
    Reason.MISCONFIGURED: _advice(
        "tệp cấu hình không dùng được", "the configuration cannot be used",
        "sửa dòng được nêu trong tệp cấu hình", "correct the line of the configuration file that is named",
    ),
    Reason.NO_PERMISSION: _advice(
        "máy không cho phép chương trình đo", "this machine does not let the program measure it",
        "chạy dưới dịch vụ xom-gateway, hoặc thêm người dùng xom vào nhóm được nêu",
        "run it under the xom-gateway service, or add its user to the group that is named",
    ),
    Reason.NO_EQUIPMENT: _advice(
        "trạm chưa có thiết bị để đo", "the gateway lacks the equipment to measure it",
        "cắm modem, anten hoặc cổng nối tiếp; kiểm tra đường dẫn trong cấu hình",
        "plug in the modem, radio or serial port; check its path in the configuration",
    ),
    Reason.CREDENTIALS_MISSING: _advice(
        "thiếu tên đăng nhập hoặc mật khẩu", "its login is missing",
        "thêm mục được nêu vào tệp mật khẩu (chmod 600)", "add the entry that is named to the credentials file",
    ),
    Reason.DATA_BUDGET: _advice(
        "đã dùng hết dung lượng dành cho việc đo trong tháng", "this month's data for measuring is used up",
        "đợi sang tháng, hoặc tăng data_mb_per_month", "wait for the next month, or raise data_mb_per_month",
    ),
    Reason.NETWORK_DOWN: _advice(
        "chính đường mạng của trạm đang mất nên không đo được", "the gateway's own line is down, so it could not ask",
        "kiểm tra dây mạng, bộ chuyển mạch và nguồn của trạm", "check the gateway's cable, switch and power first",
    ),
    Reason.PROBE_ERROR: _advice(
        "phép đo gặp lỗi của chương trình", "the measurement itself failed",
        "gửi nhật ký của dịch vụ cho người vận hành", "send the service's log to the operator",
    ),
    Reason.NO_LINK: _advice(
        "cổng mạng không có tín hiệu", "the network port has no link",
        "cắm lại dây mạng; thử dây và cổng khác", "plug the cable in again; try another cable and port",
    ),
    Reason.NO_ADDRESS: _advice(
        "không nhận được địa chỉ mạng", "no network address was given",
        "khởi động lại bộ định tuyến; kiểm tra DHCP", "restart the router; check its DHCP",
    ),
    Reason.NO_GATEWAY: _advice(
        "bộ định tuyến không trả lời", "the router does not answer",
        "kiểm tra nguồn của bộ định tuyến, khởi động lại", "check the router's power and restart it",
    ),
    Reason.NO_DNS: _advice(
        "không phân giải được tên miền", "names are not resolved",
        "kiểm tra máy chủ DNS trên bộ định tuyến; báo nhà mạng", "check the router's DNS servers; tell the operator",
    ),
    Reason.DNS_LIES: _advice(
        "DNS trả lời sai", "the resolver gives answers that cannot be right",
        "đổi máy chủ DNS; có thể là trang đăng nhập wifi", "use another resolver; it may be a wifi login page",
    ),
    Reason.UNREACHABLE: _advice(
        "không tới được thiết bị", "nothing is reached at its address",
        "kiểm tra nguồn, dây mạng và địa chỉ của thiết bị", "check the device's power, cable and address",
    ),
    Reason.REFUSED: _advice(
        "máy có bật nhưng không mở cổng này", "a machine answers there, but not on this port",
        "kiểm tra số cổng và dịch vụ trên thiết bị", "check the port and that the service is switched on in the device",
    ),
    Reason.TIMEOUT: _advice(
        "không trả lời trong thời gian cho phép", "no answer within the time allowed",
        "kiểm tra nguồn và đường truyền; khởi động lại thiết bị", "check power and line; restart the device",
    ),
    Reason.CLOSED: _advice(
        "thiết bị ngắt kết nối giữa chừng", "it ended the connection before it had answered",
        "khởi động lại thiết bị; xem số kết nối cho phép", "restart it; see how many connections it allows",
    ),
    Reason.NOT_THE_PROTOCOL: _advice(
        "thiết bị trả lời khác với giao thức mong đợi", "it answers in another protocol than expected",
        "kiểm tra loại thiết bị, cổng, đường dẫn trong cấu hình", "check kind, port and path in the configuration",
    ),
    Reason.TOO_LARGE: _advice(
        "thiết bị gửi quá nhiều dữ liệu", "it sends more than we take",
        "kiểm tra địa chỉ và đường dẫn; có thể là thiết bị khác", "check address and path; it may be another device",
    ),
    Reason.REDIRECTED: _advice(
        "thiết bị chuyển sang địa chỉ không được phép", "it sends us to an address where we do not go",
        "ghi thẳng địa chỉ đúng vào cấu hình", "write the right address into the configuration",
    ),
    Reason.PORTAL: _advice(
        "mạng đòi đăng nhập trên trang web", "the network wants a login on a web page",
        "đăng nhập, hoặc nhờ chủ mạng cho trạm đi qua", "log in, or ask its owner to let the gateway through",
    ),
    Reason.TLS: _advice(
        "chứng thư bảo mật không hợp lệ", "its certificate is not valid",
        "kiểm tra ngày giờ của trạm và chứng thư của máy chủ", "check the gateway's clock and the server's certificate",
    ),
    Reason.UNAUTHORISED: _advice(
        "sai tên đăng nhập hoặc mật khẩu", "the login is refused",
        "sửa mật khẩu trong tệp mật khẩu; kiểm tra đồng hồ của thiết bị",
        "correct it in the credentials file; check the device's clock",
    ),
    Reason.NOT_FOUND: _advice(
        "thiết bị không có đường dẫn này", "the device has no such path",
        "sửa đường dẫn trong cấu hình theo tài liệu của thiết bị", "correct the path by the device's manual",
    ),
    Reason.BUSY: _advice(
        "thiết bị đang bận, hết chỗ kết nối", "the device is busy: no free session",
        "giảm số máy cùng xem; thử lại sau", "let fewer programs use it; try again later",
    ),
    Reason.DEVICE_ERROR: _advice(
        "thiết bị tự báo lỗi", "the device itself reports a fault",
        "xem mã lỗi được nêu và tài liệu của thiết bị", "look up the code that is named in its manual",
    ),
    Reason.WRONG_DEVICE: _advice(
        "trả lời là một thiết bị khác", "another device answers than the one expected",
        "kiểm tra địa chỉ: có thể hai thiết bị trùng địa chỉ", "check addresses: two devices may share one",
    ),
    Reason.NOT_LINKED: _advice(
        "loa không kết nối với Đài Truyền thanh", "the loudspeaker is not linked to the station",
        "kiểm tra tài khoản của loa trên đài và mạng của loa", "check its account at the station and its network",
    ),
    Reason.NOT_PLAYED: _advice(
        "buổi phát vừa rồi không phát ra đủ", "the last broadcast was not played in full",
        "kiểm tra lịch phát, âm lượng và bộ khuếch đại", "check schedule, volume and amplifier",
    ),
    Reason.NOT_HEARD: _advice(
        "loa không phát ra tiếng", "no sound comes out",
        "kiểm tra dây loa và củ loa", "check the horn and its wire",
    ),
    Reason.NO_PICTURE: _advice(
        "camera không cho hình", "no picture can be decoded",
        "khởi động lại camera; kiểm tra kiểu nén", "restart the camera; check its codec",
    ),
    Reason.BLACK: _advice(
        "hình đen", "the picture is black",
        "kiểm tra ống kính có bị che, đèn hồng ngoại", "see whether the lens is covered; check the infrared light",
    ),
    Reason.FROZEN: _advice(
        "hình đứng yên", "the picture stands still", "khởi động lại camera", "restart the camera",
    ),
    Reason.BLURRED: _advice(
        "hình mờ hoặc bị che", "the picture is blurred or covered",
        "lau ống kính, chỉnh nét, gỡ vật che", "clean the lens, focus it, remove what covers it",
    ),
    Reason.MOVED: _advice(
        "camera quay sang hướng khác", "the camera looks elsewhere",
        "chỉnh lại hướng, hoặc nhận hình mới làm mẫu", "turn it back, or accept the new view as its reference",
    ),
    Reason.NO_SERVICE: _advice(
        "modem không thấy mạng di động", "the modem finds no mobile network",
        "kiểm tra anten, thử vị trí cao hơn", "check the antenna; try a higher place",
    ),
    Reason.NOT_REGISTERED: _advice(
        "modem chưa đăng ký vào mạng", "the modem is not registered",
        "kiểm tra SIM còn hạn; hỏi nhà mạng", "check that the SIM is valid; ask its operator",
    ),
    Reason.NO_SIM: _advice(
        "không có SIM hoặc SIM khoá", "no SIM, or it is locked",
        "lắp lại SIM, tắt mã PIN", "put the SIM in again, switch its PIN off",
    ),
    Reason.WEAK_SIGNAL: _advice(
        "sóng yếu", "the signal is weak",
        "chuyển anten lên cao hoặc ra ngoài nhà", "move the antenna higher or outdoors",
    ),
    Reason.NO_DATA: _advice(
        "có sóng nhưng không có dữ liệu", "registered, and no data passes",
        "nạp tiền hoặc gia hạn gói dữ liệu; kiểm tra APN", "top the SIM up or renew its data plan; check the APN",
    ),
    Reason.NO_ASSOCIATION: _advice(
        "không vào được wifi", "the wifi does not let us in",
        "kiểm tra tên mạng và mật khẩu; khởi động lại bộ phát", "check name and password; restart the access point",
    ),
    Reason.LOSSY: _advice(
        "đường truyền mất nhiều gói", "the line loses packets",
        "báo nhà mạng; kiểm tra dây và nhiễu", "tell the operator; check cable and interference",
    ),
    Reason.SLOW: _advice(
        "đường truyền chậm", "the line is slow", "báo nhà mạng", "tell the operator",
    ),
    Reason.BAD_CHECKSUM: _advice(
        "dữ liệu trên dây bị nhiễu", "what arrives on the wire is damaged",
        "kiểm tra dây A/B, điện trở cuối, tốc độ baud", "check wires A and B, termination and baud rate",
    ),
    Reason.STUCK: _advice(
        "số đo đứng yên quá lâu", "the same value for too long",
        "vệ sinh và kiểm tra đầu đo", "clean and check the probe",
    ),
    Reason.OUT_OF_RANGE: _advice(
        "số đo ngoài khoảng có thể", "a value outside what is possible",
        "kiểm tra đầu đo, đơn vị và hệ số", "check probe, unit and scale",
    ),
    Reason.CLOCK_SKEW: _advice(
        "đồng hồ của thiết bị sai", "its clock is wrong",
        "đặt NTP trên thiết bị", "set NTP in the device",
    ),
    Reason.UNDER_VOLTAGE: _advice(
        "nguồn điện yếu", "the supply voltage is too low",
        "thay bộ nguồn hoặc dây nguồn", "replace the power supply or its cable",
    ),
    Reason.HOT: _advice(
        "máy quá nóng", "the machine is too hot",
        "che nắng, thông gió cho hộp", "shade and ventilate the box",
    ),
    Reason.DISK_FULL: _advice(
        "thẻ nhớ sắp đầy", "the card is nearly full",
        "giảm spool.megabytes, xoá tệp lạ, hoặc thay thẻ lớn hơn",
        "lower spool.megabytes, remove what does not belong there, or take a larger card",
    ),
    Reason.DISK_WORN: _advice(
        "thẻ nhớ đã mòn hoặc báo lỗi", "the card is worn or reports errors",
        "thay thẻ sớm; dữ liệu đã gửi vẫn an toàn", "replace the card soon; what is delivered is safe",
    ),
    Reason.NO_MAINS: _advice(
        "mất điện lưới, đang chạy bằng pin", "no mains: it runs on its battery",
        "kiểm tra điện lưới và cầu dao", "check mains and breaker",
    ),
    Reason.NOT_KNOWN: _advice(
        "thiết bị trả lời là chính nó không biết", "it answers that it does not know itself",
        "đợi rồi đo lại; nếu kéo dài thì khởi động lại thiết bị", "wait and look again; restart it if that lasts",
    ),
    Reason.LOW_BATTERY: _advice(
        "pin sắp hết", "the battery is low", "kiểm tra điện lưới và tuổi của pin", "check mains and the battery's age",
    ),
    Reason.LOW_MEMORY: _advice(
        "máy gần hết bộ nhớ", "the machine is short of memory",
        "tắt chương trình lạ trên máy; khởi động lại", "stop programs that do not belong there; restart it",
    ),
    Reason.READ_ONLY: _advice(
        "thẻ nhớ chỉ còn đọc được, không ghi được", "the card can only be read: nothing is kept any more",
        "thay thẻ nhớ ngay", "replace the card now",
    ),
    Reason.RESTARTED: _advice(
        "máy tự khởi động lại nhiều lần", "it keeps restarting by itself",
        "kiểm tra bộ nguồn và nhật ký của máy", "check its power supply and the machine's log",
    ),
    Reason.UNSYNCHRONISED: _advice(
        "đồng hồ chưa được đồng bộ", "no time service keeps its clock",
        "nối mạng để chrony chỉnh giờ, hoặc gắn RTC, GNSS", "connect it to a time service, or fit an RTC or GNSS",
    ),
    Reason.NO_FIX: _advice(
        "GNSS chưa định vị được", "GNSS has no fix",
        "đưa anten ra chỗ thấy trời", "put the antenna where it sees the sky",
    ),
    Reason.STALE: _advice(
        "tin cuối cùng đã quá cũ", "its last word is too old",
        "kiểm tra thiết bị có còn bật và nối mạng", "see whether it is still on and connected",
    ),
}  # fmt: skip
