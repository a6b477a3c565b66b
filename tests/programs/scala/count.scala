object Main extends App {
  println(io.Source.stdin.getLines().size)
}
