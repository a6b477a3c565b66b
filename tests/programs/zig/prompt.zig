const std = @import("std");

pub fn main() !void {
    var buffer: [256]u8 = undefined;
    var stdout = std.fs.File.stdout().writer(&buffer);
    const out = &stdout.interface;
    try out.writeAll("number? ");
    var text: [16]u8 = undefined;
    const size = try std.fs.File.stdin().read(&text);
    const number = try std.fmt.parseInt(u32, std.mem.trim(u8, text[0..size], "\n"), 10);
    try out.print("{d}\n", .{number * number});
    try out.flush();
}
