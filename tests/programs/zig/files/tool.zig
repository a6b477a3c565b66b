pub fn twice(n: u32) u32 {
    return 2 * n;
}
