object Main extends App {
  print("number? ")
  val number = scala.io.StdIn.readInt()
  println(number * number)
}
