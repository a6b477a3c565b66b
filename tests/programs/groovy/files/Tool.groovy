class Tool {
    static twice(n) { 2 * n }
}
