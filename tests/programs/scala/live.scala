object Main extends App {
  println("one")
  scala.io.StdIn.readLine()
  println("two")
}
