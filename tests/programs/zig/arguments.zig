const std = @import("std");

pub fn main() !void {
    var buffer: [256]u8 = undefined;
    var stdout = std.fs.File.stdout().writer(&buffer);
    const out = &stdout.interface;
    for (std.os.argv[1..]) |argument| try out.print("{s}\n", .{argument});
    try out.print("{s}\n", .{std.posix.getenv("GREETING").?});
    try out.flush();
    std.process.exit(7);
}
