const std = @import("std");

pub fn main() !void {
    var buffer: [256]u8 = undefined;
    var stdout = std.fs.File.stdout().writer(&buffer);
    const out = &stdout.interface;
    var lines: usize = 0;
    var bytes: [65536]u8 = undefined;
    while (true) {
        const size = try std.fs.File.stdin().read(&bytes);
        if (size == 0) break;
        lines += std.mem.count(u8, bytes[0..size], "\n");
    }
    try out.print("{d}\n", .{lines});
    try out.flush();
}
