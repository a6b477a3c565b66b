fun main() {
    println("one")
    readLine()
    println("two")
}
