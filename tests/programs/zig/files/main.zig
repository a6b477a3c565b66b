const std = @import("std");
const tool = @import("tool.zig");

pub fn main() !void {
    var text: [16]u8 = undefined;
    try std.fs.File.stdout().writeAll(try std.fmt.bufPrint(&text, "{d}\n", .{tool.twice(21)}));
}
