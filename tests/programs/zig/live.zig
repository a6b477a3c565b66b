const std = @import("std");

pub fn main() !void {
    var buffer: [256]u8 = undefined;
    var stdout = std.fs.File.stdout().writer(&buffer);
    const out = &stdout.interface;
    try out.writeAll("one\n");
    var byte: [1]u8 = undefined;
    _ = try std.fs.File.stdin().read(&byte);
    try out.writeAll("two\n");
    try out.flush();
}
