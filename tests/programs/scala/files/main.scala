object Main extends App {
  println(Tool.twice(21))
}
