object Tool {
  def twice(n: Int) = 2 * n
}
