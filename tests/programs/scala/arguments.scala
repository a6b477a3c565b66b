object Arguments {
  def main(args: Array[String]): Unit = {
    args.foreach(println)
    println(sys.env("GREETING"))
    sys.exit(7)
  }
}
